import pytest

from nas.errors import UsageError
from search_spaces.genotype import DARTS_V1, DARTS_V2, canonical_cell, loose_ends, parse

PUBLISHED_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)
CONV, POOL, SKIP = "sep_conv_3x3", "avg_pool_3x3", "skip_connect"


def test_the_published_text_is_read_and_written():
    assert parse(PUBLISHED_V1) == DARTS_V1
    assert parse(str(DARTS_V2)) == DARTS_V2
    assert "normal_concat=range(2, 6)" in str(DARTS_V2)


def test_fields_may_come_without_names_and_in_any_order():
    fields = str(DARTS_V2)[len("Genotype(") : -1]
    swapped = fields[fields.index("reduce=") :] + ", " + fields[: fields.index(", reduce=")]
    assert parse(f"Genotype({swapped})") == DARTS_V2
    bare = (
        fields.replace("normal=", "").replace("normal_concat=", "").replace("reduce=", "").replace("reduce_concat=", "")
    )
    assert parse(f"Genotype({bare})") == DARTS_V2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a genotype"),
        ("Genotype(", "not a genotype"),
        ("Genotype(normal=[('a', 0)])", "not a genotype"),
        ("print('hello')", "not a genotype"),
        ("Genotype(__import__('os'), 1, 2, 3)", "not a genotype"),
        ("Genotype(normal=[1], normal_concat=[2], reduce=[], reduce_concat=[])", "not a genotype"),
        ("Genotype([('a', 0)], [2], [('a', 0), ('b', 1)], [2])", "normal cell has 1 edges"),
        ("Genotype([('a', 0), ('b', 2)], [2], [('a', 0), ('b', 1)], [2])", "0 to 1"),
        ("Genotype([('a', 0), ('b', 1)], [2], [('a', 0), ('b', -1)], [2])", "0 to 1"),
        ("Genotype([('a', 0), ('b', 1)], [3], [('a', 0), ('b', 1)], [2])", "0 to 2"),
        ("Genotype([('a', 0), ('b', 1)], [2, 2], [('a', 0), ('b', 1)], [2])", "distinct states"),
        ("Genotype([('a', 0), ('b', 1)], range(10**9), [('a', 0), ('b', 1)], [2])", "not a genotype"),
    ],
)
def test_other_text_is_refused_in_one_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_loose_ends_are_the_published_concatenation_of_amoebanet():
    edges = (
        (POOL, 0),
        (CONV, 1),
        (POOL, 0),
        (CONV, 2),
        (CONV, 0),
        (POOL, 1),
        (POOL, 0),
        (POOL, 1),
        (CONV, 0),
        (CONV, 5),
    )
    assert loose_ends(edges) == (3, 4, 6)


def test_the_key_of_a_cell_ignores_the_order_of_inputs_and_the_numbers_of_nodes():
    first = ((CONV, 0), (SKIP, 1), (POOL, 0), (CONV, 1), (CONV, 2), (SKIP, 3), (CONV, 4), (CONV, 0))
    inputs_swapped = ((SKIP, 1), (CONV, 0), (CONV, 1), (POOL, 0), (SKIP, 3), (CONV, 2), (CONV, 0), (CONV, 4))
    nodes_swapped = ((POOL, 0), (CONV, 1), (CONV, 0), (SKIP, 1), (CONV, 3), (SKIP, 2), (CONV, 4), (CONV, 0))
    concat = (2, 3, 4, 5)
    assert (
        canonical_cell(first, concat) == canonical_cell(inputs_swapped, concat) == canonical_cell(nodes_swapped, concat)
    )


def test_the_key_tells_one_node_used_twice_from_two_equal_nodes():
    twins = ((CONV, 0), (SKIP, 1), (CONV, 0), (SKIP, 1))
    concat = (2, 3, 4, 5)
    one = (*twins, (POOL, 2), (POOL, 0), (POOL, 2), (POOL, 1))
    two = (*twins, (POOL, 2), (POOL, 0), (POOL, 3), (POOL, 1))
    assert canonical_cell(one, concat) != canonical_cell(two, concat)


def test_the_key_tells_which_states_are_put_out():
    edges = ((CONV, 0), (SKIP, 1), (POOL, 0), (SKIP, 1))
    assert canonical_cell(edges, (2, 3)) != canonical_cell(edges, (2,))


def test_the_second_cell_of_darts_is_the_published_one():
    text = (
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
        "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
        "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
        "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
        "reduce_concat=[2, 3, 4, 5])"
    )
    assert parse(text) == DARTS_V2
