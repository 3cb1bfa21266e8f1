//! Columns out of frames: each cell of a time grid takes what covers it.

use super::track::{OF_THREAD, Track};
use super::{Columns, HistoryError, MOST_POINTS, Series};
use crate::model::{Evidence, Nanos, Tid, Unknown};

/// A step that nobody chose: about this many points, and not finer than the fastest sampling.
const POINTS_BY_DEFAULT: u64 = 300;
const FINEST: u64 = 100_000_000;

/// Cells of one length; the first begins at a whole multiple of it.
#[derive(Debug)]
pub(super) struct Grid {
    step: u64,
    /// Number of the first cell, counted from time 0.
    first: u64,
    cells: usize,
}

impl Grid {
    pub(super) fn new(from: Nanos, to: Nanos, step: Nanos) -> Result<Grid, HistoryError> {
        if from >= to {
            return Err(HistoryError::EmptyRange);
        }
        let range = to.0 - from.0;
        let step = match step.0 {
            0 => (range / POINTS_BY_DEFAULT).div_ceil(FINEST).max(1) * FINEST,
            step => step,
        };
        let asked = range.div_ceil(step);
        if asked > MOST_POINTS {
            return Err(HistoryError::TooMany(asked, MOST_POINTS));
        }
        let first = from.0 / step;
        // One more than asked when the range begins inside a cell.
        let cells = (to.0 - 1) / step - first + 1;
        Ok(Grid {
            step,
            first,
            cells: cells as usize,
        })
    }

    fn times(&self) -> Vec<Nanos> {
        (0..self.cells as u64)
            .map(|cell| Nanos((self.first + cell) * self.step))
            .collect()
    }

    /// The cells that the time from `begin` to `end` touches, with how much of each. An instant
    /// touches its cell with the least weight there is.
    fn touched(&self, begin: u64, end: u64) -> impl Iterator<Item = (usize, f64)> {
        let last_moment = if begin < end { end - 1 } else { end };
        let first = (begin / self.step).max(self.first);
        let last = (last_moment / self.step).min(self.first + self.cells as u64 - 1);
        (first..=last).map(move |cell| {
            let overlap = end
                .min((cell + 1).saturating_mul(self.step))
                .saturating_sub(begin.max(cell * self.step));
            ((cell - self.first) as usize, overlap.max(1) as f64)
        })
    }
}

#[derive(Clone, Copy, Default)]
struct Cell {
    weight: f64,
    value: f64,
}

/// A stretch of time and what each asked series was then.
type Stretch = (u64, u64, Vec<Evidence<f32>>);

fn columns(grid: &Grid, series: &[Series], stretches: impl Iterator<Item = Stretch>) -> Columns {
    let mut cells = vec![vec![Cell::default(); grid.cells]; series.len()];
    let mut reasons: Vec<Option<Unknown>> = vec![None; series.len()];
    for (begin, end, values) in stretches {
        for (column, value) in values.into_iter().enumerate() {
            for (index, weight) in grid.touched(begin, end) {
                let cell = &mut cells[column][index];
                match value {
                    Err(unknown) => reasons[column] = Some(unknown),
                    Ok(value) if series[column].takes_maximum() => {
                        let value = f64::from(value);
                        cell.value = if cell.weight > 0.0 {
                            cell.value.max(value)
                        } else {
                            value
                        };
                        cell.weight += weight;
                    }
                    Ok(value) => {
                        cell.weight += weight;
                        // The running mean: exact for equal values, and it cannot overflow.
                        cell.value += (f64::from(value) - cell.value) * (weight / cell.weight);
                    }
                }
            }
        }
    }
    let told = |cells: Vec<Cell>| -> Vec<Option<f64>> {
        cells
            .into_iter()
            .map(|cell| (cell.weight > 0.0).then_some(cell.value))
            .collect()
    };
    let series: Vec<(Series, Vec<Option<f64>>)> = series.iter().copied().zip(cells.into_iter().map(told)).collect();
    let unknown = series
        .iter()
        .zip(reasons)
        .filter(|((_, column), _)| column.iter().all(Option::is_none))
        .filter_map(|((series, _), reason)| Some((*series, reason?)))
        .collect();
    Columns {
        times: grid.times(),
        step: Nanos(grid.step),
        series,
        unknown,
    }
}

pub(super) fn of_process(track: &Track, grid: &Grid, series: &[Series]) -> Columns {
    let places: Vec<usize> = series.iter().map(|series| place(&Series::ALL, *series)).collect();
    let stretches = track.stretches().map(|(begin, end, frame)| {
        let values = places.iter().map(|place| frame.points[*place].value()).collect();
        (begin, end, values)
    });
    columns(grid, series, stretches)
}

pub(super) fn of_thread(track: &Track, tid: Tid, grid: &Grid, series: &[Series]) -> Option<Columns> {
    let life = track.life(tid)?;
    let places: Vec<usize> = series.iter().map(|series| place(&OF_THREAD, *series)).collect();
    let stretches = life.from(track.first_tick()).filter_map(|(tick, points)| {
        let frame = track.frame(tick)?;
        let values = places.iter().map(|place| points[*place].value()).collect();
        Some((frame.at - frame.covers, frame.at, values))
    });
    Some(columns(grid, series, stretches))
}

fn place(among: &[Series], series: Series) -> usize {
    among.iter().position(|known| *known == series).unwrap_or(0)
}
