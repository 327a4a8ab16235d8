from tabular_automl.data.topics import names_word, topic_blocks, topic_name, word_name


def test_topics_are_found_by_column_whatever_its_name():
    columns = ["a", "b:topic1", "line\nbreak"]
    names = [topic_name(column, i) for i in range(2) for column in columns]
    names[1:1] = ["a:chars", "a:topics", "topic0"]
    assert [[names[i] for i in block] for block in topic_blocks(names)] == [
        [topic_name(column, 0), topic_name(column, 1)] for column in columns
    ]


def test_a_topic_whose_name_came_twice_stays_with_its_column():
    assert topic_blocks(["a:topic0", "a:topic1 (2)"]) == [[0, 1]]


def test_features_of_words_are_known_by_name():
    assert all(names_word(word_name("a", word)) for word in ("mrs", "o'brien", "1"))
    assert names_word("a:'mrs' (2)")
    assert not any(map(names_word, ("a", "a:chars", "a:topic0", "a:missing", "it's: mine")))
