//! rogue
