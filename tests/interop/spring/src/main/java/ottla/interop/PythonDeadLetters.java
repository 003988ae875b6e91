package ottla.interop;

import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.MessageHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.stereotype.Component;

/** Reads dead letters that the Python side has written, by parameters as Spring's documentation has them. */
@Component
class PythonDeadLetters {

    private final Seen seen;

    PythonDeadLetters(Seen seen) {
        this.seen = seen;
    }

    @KafkaListener(
            id = "py-orders-dlt",
            topics = "py.orders-dlt",
            properties = "value.deserializer=org.apache.kafka.common.serialization.ByteArrayDeserializer")
    void look(
            @Payload byte[] value,
            MessageHeaders headers,
            @Header(KafkaHeaders.DLT_ORIGINAL_TOPIC) String topic,
            @Header(KafkaHeaders.DLT_ORIGINAL_PARTITION) int partition,
            @Header(KafkaHeaders.DLT_ORIGINAL_OFFSET) long offset,
            @Header(KafkaHeaders.DLT_ORIGINAL_TIMESTAMP) long timestamp,
            @Header(KafkaHeaders.DLT_ORIGINAL_TIMESTAMP_TYPE) String timestampType,
            @Header(KafkaHeaders.DLT_ORIGINAL_CONSUMER_GROUP) String group,
            @Header(KafkaHeaders.DLT_EXCEPTION_FQCN) String exception,
            @Header(KafkaHeaders.DLT_EXCEPTION_CAUSE_FQCN) String cause,
            @Header(KafkaHeaders.DLT_EXCEPTION_MESSAGE) String message) {
        Map<String, Object> typed = new LinkedHashMap<>();
        typed.put("topic", topic);
        typed.put("partition", partition);
        typed.put("offset", offset);
        typed.put("timestamp", timestamp);
        typed.put("timestamp_type", timestampType);
        typed.put("group", group);
        typed.put("exception", exception);
        typed.put("cause", cause);
        typed.put("message", message);
        seen.tell("py-orders-dlt", value, headers, typed);
    }
}
