"""How good a network is: features, figures, pictures and pages."""
