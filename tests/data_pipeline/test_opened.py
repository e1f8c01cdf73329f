from data_pipeline.read.opened import Opened


class Container:
    def __init__(self, path):
        self.path = path


def test_containers_stay_open_up_to_a_limit():
    asked = []
    opened = Opened(lambda path: asked.append(path) or Container(path), 2)
    wanted = ["/a", "/b", "/a", "/c", "/a"]
    assert [opened.get(path).path for path in wanted] == wanted
    assert asked == ["/a", "/b", "/c"]  # the one that was used longest ago had to go
    opened.get("/b")
    held = opened.get("/b")
    opened.get("/d")
    opened.get("/e")
    assert asked[3:] == ["/b", "/d", "/e"]
    assert opened.get("/b") is held  # dropped, but still in use: not opened twice
    del held
    opened.clear()
    opened.get("/b")
    assert asked[6:] == ["/b"]
