package ottla.interop;

import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.boot.context.event.ApplicationReadyEvent;
import org.springframework.context.event.EventListener;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.MessageHeaders;
import org.springframework.stereotype.Component;
import tools.jackson.databind.json.JsonMapper;

/** Tells the topic `seen` what a listener was given, with the Java type of each header; bytes as base64. */
@Component
class Seen {

    private final KafkaTemplate<Object, Object> template;
    private final JsonMapper json;

    Seen(KafkaTemplate<Object, Object> template, JsonMapper json) {
        this.template = template;
        this.json = json;
    }

    @EventListener(ApplicationReadyEvent.class)
    void started() {
        tell("started", null, new MessageHeaders(Map.of()), Map.of());
    }

    /** `typed` are the values of parameters of their own, by name. */
    void tell(String listener, Object value, MessageHeaders headers, Map<String, ?> typed) {
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("listener", listener);
        told.put("at_ms", System.currentTimeMillis());
        told.put("key", headers.get(KafkaHeaders.RECEIVED_KEY));
        told.put("value", value);
        Map<String, Object> each = new LinkedHashMap<>();
        headers.forEach((name, header) -> each.put(name, header(header)));
        told.put("headers", each);
        told.put("typed", typed);
        template.send("seen", listener, json.writeValueAsString(told)).join();
    }

    private static Map<String, Object> header(Object value) {
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("type", value == null ? "null" : value.getClass().getSimpleName());
        told.put("value", value == null || value instanceof Number || value instanceof byte[] ? value : value.toString());
        return told;
    }
}
