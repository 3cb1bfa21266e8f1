"""Merge and maximum gap by numpy, lowest common ancestors by networkx."""

import numpy


def merge(asked):
    a = numpy.fromfile(asked["a"], "<i8")
    b = numpy.fromfile(asked["b"], "<i8")
    both = numpy.concatenate([a, b])
    out = numpy.empty_like(both)

    def run():
        out[:] = both
        # A merge sort that finds the two runs by itself.
        out.sort(kind="stable")

    return run, lambda: out


def gap(asked):
    nums = numpy.fromfile(asked["nums"], "<i8")
    found = [0]

    def run():
        found[0] = numpy.diff(numpy.sort(nums)).max(initial=0)

    return run, lambda: found


def ancestor(asked):
    import networkx

    order = numpy.fromfile(asked["order"], "<i8")
    queries = numpy.fromfile(asked["queries"], "<u4").reshape(-1, 2)
    none = numpy.iinfo("i8").min
    tree = networkx.DiGraph()
    tree.add_node(0)
    at, count, node = 1, 1, 0
    while node < count:
        for _ in range(2):
            if at < len(order):
                if order[at] != none:
                    tree.add_edge(node, count)
                    count += 1
                at += 1
        node += 1
    pairs = [tuple(map(int, pair)) for pair in queries]
    found = {}

    def run():
        found.clear()
        found.update(networkx.tree_all_pairs_lowest_common_ancestor(tree, root=0, pairs=pairs))

    # It gives each pair once, in either order.
    return run, lambda: [found.get((p, q), found.get((q, p))) for p, q in pairs]
