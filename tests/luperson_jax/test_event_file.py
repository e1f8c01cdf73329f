"""Event files hold the very bytes that TensorBoard's own writers put there."""

from luperson_jax.workdir import event_file

# Written by tensorboardX 2.6.5: its first event, and train/loss = 0.1 at step 300.
STORED = bytes.fromhex(
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
    "2100000000000000017becf60900001040fc54d94110ac022a130a110a0a747261696e2f6c6f7373"
    "15cdcccc3d5f7626ba"
)


def test_records_are_those_of_another_writer():
    events = [
        event_file.version_event(1.5),
        event_file.scalar_event("train/loss", 0.1, 300, 1_700_000_000.25),
    ]
    assert b"".join(map(event_file.record, events)) == STORED


def test_what_was_added_is_in_the_file_at_once(tmp_path):
    files = [event_file.EventFile(tmp_path) for _ in range(2)]
    files[0].add("train/loss", 0.5, 1)
    first, second = sorted(tmp_path.iterdir(), key=lambda path: -path.stat().st_size)
    assert b"train/loss" in first.read_bytes()
    assert event_file.VERSION.encode() in second.read_bytes()
    for one in files:
        one.close()
