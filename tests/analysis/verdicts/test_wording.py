"""Columns of what several texts have in common."""

from mobile_vla.analysis.verdicts.discriminative.wording import find_runs, find_words


def test_words_that_one_text_has_or_all_but_one_are_no_columns():
    texts = ["go left now", "go left here", "go right there", "go right soon"]
    columns = find_words(texts).T.tolist()
    # left, right, (go, left), (go, right); `go` is in all, the others in one
    assert sorted(columns) == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_a_whole_sentence_is_a_column():
    columns = find_words(["가", "나", "가", "나"]).T.tolist()
    assert sorted(columns) == [[0, 1, 0, 1], [0, 1, 0, 1], [1, 0, 1, 0], [1, 0, 1, 0]]


def test_runs_of_characters_read_words_without_spaces():
    columns = find_runs(["왼쪽으로가", "왼쪽으로와", "오른쪽으로가", "오른쪽으로와"]).T.tolist()
    assert [1, 1, 0, 0] in columns
    assert find_runs(["a", "b"]).shape == (2, 0)
