"""LUPerson and LUPerson-NL from their videos and detections; see docs/building_luperson.md."""
