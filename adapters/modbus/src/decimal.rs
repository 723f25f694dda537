//! Exact scaling: 237 × 0.1 is 23.7, not 23.700000000000003.
//!
//! A factor of 0.1 has no exact binary form; multiplying by it makes noise that change detection would then see.
//! Scale and offset are therefore kept as decimals, the sum is made in integers, and one correctly rounded
//! division ends it.

/// Most decimal places of a scale or an offset: ten to this power is exact in an `f64`.
const MOST_PLACES: u32 = 18;

/// A decimal number: `units` / 10^`places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    units: i64,
    places: u32,
}

impl Decimal {
    pub(crate) const ZERO: Self = Self { units: 0, places: 0 };
    pub(crate) const ONE: Self = Self { units: 1, places: 0 };

    /// The number as it was written in a configuration: the shortest decimal that reads back as `value`.
    /// `None` for what is no number, or has more than 18 places or digits.
    pub(crate) fn from_written(value: f64) -> Option<Self> {
        let text = format!("{value}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let places = u32::try_from(fraction.len())
            .ok()
            .filter(|&places| places <= MOST_PLACES)?;
        let units = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { units, places })
    }

    fn at(self, places: u32) -> i128 {
        i128::from(self.units) * 10_i128.pow(places - self.places)
    }
}

/// A linear change of a number: raw × scale + offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linear {
    scale: i128,
    offset: i128,
    places: u32,
}

/// What a [`Linear`] makes of an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scaled {
    Whole(i128),
    Fraction(f64),
}

impl Linear {
    pub(crate) fn new(scale: Decimal, offset: Decimal) -> Self {
        let places = scale.places.max(offset.places);
        Self {
            scale: scale.at(places),
            offset: offset.at(places),
            places,
        }
    }

    /// Whether it leaves every number as it is.
    pub(crate) fn is_identity(&self) -> bool {
        *self == Self::new(Decimal::ONE, Decimal::ZERO)
    }

    /// Of an integer of up to 64 bits: whole where scale and offset are, else the `f64` nearest to the exact result.
    pub(crate) fn of_integer(&self, raw: i128) -> Scaled {
        // 2^64 × 10^36 is beyond an i128; such a scale on such a number falls back to floating point.
        let Some(sum) = raw
            .checked_mul(self.scale)
            .and_then(|product| product.checked_add(self.offset))
        else {
            return Scaled::Fraction(self.of_float(raw as f64));
        };
        if self.places == 0 {
            Scaled::Whole(sum)
        } else {
            Scaled::Fraction(nearest(sum, self.places))
        }
    }

    /// Of an integer: the exact result in units of the last place, and how many places there are; nothing where that is too large.
    pub(crate) fn in_units(&self, raw: i128) -> Option<(i128, u32)> {
        let sum = raw.checked_mul(self.scale)?.checked_add(self.offset)?;
        Some((sum, self.places))
    }

    /// Of a floating-point number. Not a number and infinities stay what they are.
    pub(crate) fn of_float(&self, raw: f64) -> f64 {
        (raw * self.scale as f64 + self.offset as f64) / power_of_ten(self.places)
    }
}

/// The `f64` nearest to `units` / 10^`places`.
fn nearest(units: i128, places: u32) -> f64 {
    // Both exact: one division is correctly rounded (IEEE 754 §4.3). Beyond 2^53 the decimal text is read, which is
    // correctly rounded as well.
    if units.unsigned_abs() < 1 << 53 {
        units as f64 / power_of_ten(places)
    } else {
        format!("{units}e-{places}").parse().unwrap_or(f64::NAN)
    }
}

fn power_of_ten(places: u32) -> f64 {
    10_i64.pow(places) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(scale: f64, offset: f64) -> Linear {
        let decimal = |x| Decimal::from_written(x).expect("a decimal");
        Linear::new(decimal(scale), decimal(offset))
    }

    #[test]
    fn a_scaled_integer_is_the_decimal_that_a_person_expects() {
        assert_eq!(linear(0.1, 0.0).of_integer(237), Scaled::Fraction(23.7));
        assert_eq!(linear(0.01, 0.0).of_integer(-115), Scaled::Fraction(-1.15));
        assert_eq!(linear(0.1, -40.0).of_integer(637), Scaled::Fraction(23.7));
        assert_eq!(
            linear(0.001, 0.0).of_integer(i128::from(u64::MAX)),
            Scaled::Fraction(18_446_744_073_709_551.615)
        );
        for raw in 0..100_000_i128 {
            let text: f64 = format!("{raw}e-3").parse().expect("a number");
            assert_eq!(linear(0.001, 0.0).of_integer(raw), Scaled::Fraction(text));
        }
    }

    #[test]
    fn whole_stays_whole() {
        assert_eq!(linear(1.0, 0.0).of_integer(-5), Scaled::Whole(-5));
        assert_eq!(linear(10.0, 3.0).of_integer(7), Scaled::Whole(73));
        assert!(linear(1.0, 0.0).is_identity());
        assert!(!linear(1.0, 0.5).is_identity());
    }

    #[test]
    fn what_is_no_decimal_of_use_is_refused() {
        assert_eq!(Decimal::from_written(f64::NAN), None);
        assert_eq!(Decimal::from_written(f64::INFINITY), None);
        assert_eq!(Decimal::from_written(1e-19), None);
        assert_eq!(Decimal::from_written(1e30), None);
    }

    #[test]
    fn a_float_stays_what_it_is_where_it_is_no_number() {
        assert!(linear(0.1, 1.0).of_float(f64::NAN).is_nan());
        assert!(linear(0.1, 1.0).of_float(f64::INFINITY).is_infinite());
        assert!((linear(0.5, 1.0).of_float(3.0) - 2.5).abs() < f64::EPSILON);
    }
}
