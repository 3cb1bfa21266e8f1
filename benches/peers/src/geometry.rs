//! Hull, closest pair, crossings, points in a polygon, Delaunay and half-planes; geo and spade beside them.

use geo::{Area, ConvexHull, MultiPoint};
use spade::{DelaunayTriangulation, Point2, Triangulation};
use threadscape_workloads::Join;
use threadscape_workloads::geometry::{
    Comparison, HalfPlanes, Place, Point, closest_pair, convex_hull, crossings, delaunay, half_plane_intersection,
    points_in_polygon,
};

use crate::{Asked, Case};

fn points(asked: &Asked, name: &str) -> Vec<Point> {
    asked
        .values::<f64>(name)
        .chunks_exact(2)
        .map(|pair| Point::new(pair[0], pair[1]))
        .collect()
}

pub fn open(name: &str, asked: &Asked) -> Box<dyn Case + Send> {
    match name {
        "hull" => {
            let cloud = points(asked, "points");
            told(move |join| {
                let hull = convex_hull(&cloud, false, Comparison::Exact, join);
                let twice: f64 = (0..hull.len())
                    .map(|at| hull[at].cross(hull[(at + 1) % hull.len()]))
                    .sum();
                vec![hull.len() as f64, twice / 2.0]
            })
        }
        "hull_geo" => {
            let cloud: MultiPoint<f64> = points(asked, "points")
                .iter()
                .map(|p| (p.x, p.y))
                .collect::<Vec<_>>()
                .into();
            told(move |_| {
                let hull = cloud.convex_hull();
                vec![(hull.exterior().0.len() - 1) as f64, hull.unsigned_area()]
            })
        }
        "closest_pair" => {
            let cloud = points(asked, "points");
            told(move |join| vec![closest_pair(&cloud, Comparison::Exact, join).unwrap().distance])
        }
        "crossings" => {
            let segments: Vec<[Point; 2]> = points(asked, "points").as_chunks::<2>().0.to_vec();
            told(move |join| vec![crossings(&segments, join).len() as f64])
        }
        "inside" => {
            let (polygon, cloud) = (points(asked, "polygon"), points(asked, "points"));
            told(move |join| {
                let places = points_in_polygon(&polygon, &cloud, Comparison::Exact, join);
                vec![places.iter().filter(|place| **place == Place::Inside).count() as f64]
            })
        }
        "delaunay" => {
            let cloud = points(asked, "points");
            told(move |join| vec![delaunay(&cloud, join).len() as f64])
        }
        "delaunay_spade" => {
            let cloud: Vec<Point2<f64>> = points(asked, "points").iter().map(|p| Point2::new(p.x, p.y)).collect();
            told(move |_| {
                let made = DelaunayTriangulation::<Point2<f64>>::bulk_load(cloud.clone()).unwrap();
                vec![made.num_inner_faces() as f64]
            })
        }
        "half_planes" => {
            let planes: Vec<[f64; 3]> = asked.values::<f64>("planes").as_chunks::<3>().0.to_vec();
            told(move |_| match half_plane_intersection(&planes) {
                HalfPlanes::Polygon(corners) => vec![corners.len() as f64],
                other => panic!("not a polygon: {other:?}"),
            })
        }
        _ => panic!("no case is named geometry.{name}"),
    }
}

struct Told<F> {
    make: F,
    told: Vec<f64>,
}

fn told<F: FnMut(&dyn Join) -> Vec<f64> + Send + 'static>(make: F) -> Box<dyn Case + Send> {
    Box::new(Told { make, told: Vec::new() })
}

impl<F: FnMut(&dyn Join) -> Vec<f64>> Case for Told<F> {
    fn run(&mut self, join: &dyn Join) {
        self.told = (self.make)(join);
    }

    fn result(&self) -> Vec<f64> {
        self.told.clone()
    }
}
