//! The plant as its clients see it: real OPC UA and Modbus clients over real sockets.

mod client;
mod conveyors;
mod life;
mod lines;
