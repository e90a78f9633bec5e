//! REST, WebSocket and server-sent events over the pipeline's topics and caches.
