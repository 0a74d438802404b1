//! Tests of the page store from outside, through files on every backend.

mod cache;
mod damage;
mod fixture;
mod model;
mod order;
mod threads;
