//! Checks of a whole environment.

/// What [`Environment::verify`](crate::Environment::verify) found.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Damage, one sentence each; empty if all is well.
    pub damage: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}
