//! The kit of promises that every adapter is held to.
