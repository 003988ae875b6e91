package ottla.interop;

/** What both sides send; on the wire its type is the token `order`. */
record Order(String id, int qty) {

    /** Ids that begin with `fail2` fail twice, others that begin with `fail` always. */
    boolean failsAt(int attempt) {
        return id.startsWith("fail2") ? attempt <= 2 : id.startsWith("fail");
    }
}
