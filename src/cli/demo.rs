//! demo
mod api;
mod websocket;
