"""Geometry by scipy.spatial (qhull, k-d tree), shapely (GEOS) and OpenCV."""

import numpy


def points(asked, name="points"):
    return numpy.fromfile(asked[name], "<f8").reshape(-1, 2)


def hull_qhull(asked):
    import scipy.spatial

    cloud = points(asked)
    out = [None]

    def run():
        out[0] = scipy.spatial.ConvexHull(cloud)

    return run, lambda: [len(out[0].vertices), out[0].volume]


def hull_geos(asked):
    import shapely

    cloud = shapely.MultiPoint(points(asked))
    out = [None]

    def run():
        out[0] = shapely.convex_hull(cloud)

    return run, lambda: [len(out[0].exterior.coords) - 1, out[0].area]


def closest_pair(asked):
    import scipy.spatial

    cloud = points(asked)
    out = [0.0]

    def run():
        tree = scipy.spatial.cKDTree(cloud)
        out[0] = tree.query(cloud, k=2, workers=asked["threads"])[0][:, 1].min()

    return run, lambda: out


def crossings(asked):
    import shapely

    ends = points(asked).reshape(-1, 2, 2)
    out = [0]

    def run():
        lines = shapely.linestrings(ends)
        tree = shapely.STRtree(lines)
        pairs = tree.query(lines, predicate="intersects")
        out[0] = int((pairs[0] < pairs[1]).sum())

    return run, lambda: out


def inside(asked):
    import shapely

    polygon = shapely.Polygon(points(asked, "polygon"))
    cloud = shapely.points(points(asked))
    out = [None]

    def run():
        shapely.prepare(polygon)
        out[0] = shapely.contains(polygon, cloud)

    return run, lambda: [int(out[0].sum())]


def delaunay(asked):
    import scipy.spatial

    cloud = points(asked)
    out = [None]

    def run():
        out[0] = scipy.spatial.Delaunay(cloud)

    return run, lambda: [len(out[0].simplices)]


def half_planes(asked):
    import scipy.spatial

    planes = numpy.fromfile(asked["planes"], "<f8").reshape(-1, 3)
    rows = planes * numpy.array([1, 1, -1])
    out = [None]

    def run():
        out[0] = scipy.spatial.HalfspaceIntersection(rows, numpy.zeros(2))

    return run, lambda: [len(out[0].dual_vertices)]
