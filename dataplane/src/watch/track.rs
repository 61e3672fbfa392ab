//! The changes of a value over the points of a recording.

/// The changes of one value, which is 0 in the beginning: by point, ascending.
#[derive(Clone, Default, Debug)]
pub struct Track {
    pub points: Vec<u32>,
    pub values: Vec<u64>,
}

impl Track {
    fn last(&self) -> u64 {
        self.values.last().copied().unwrap_or(0)
    }

    /// The value from `point` on, which is no earlier than the last change. Returns how many changes there are more.
    #[inline]
    pub fn note(&mut self, point: u32, value: u64) -> i64 {
        if self.last() == value {
            return 0;
        }
        let again = self.points.last() == Some(&point);
        if again {
            self.points.pop();
            self.values.pop();
        }
        if self.last() == value {
            return -i64::from(again);
        }
        self.points.push(point);
        self.values.push(value);
        1 - i64::from(again)
    }

    /// Keep of every two points the later one.
    pub fn halve(&mut self) {
        let mut halved = Track::default();
        for (point, value) in self.points.iter().zip(&self.values) {
            halved.note(point.div_ceil(2), *value);
        }
        *self = halved;
    }
}
