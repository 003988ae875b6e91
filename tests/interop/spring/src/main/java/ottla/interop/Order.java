package ottla.interop;

/** What both sides send; on the wire its type is the token `order`. */
record Order(String id, int qty) {}
