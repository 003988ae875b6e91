package ottla.interop;

import java.math.BigInteger;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.retrytopic.RetryTopicHeaders;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.MessageHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.stereotype.Component;

/** Reads what the Python side gave up at the end of its retry topics, as a `@DltHandler` would. */
@Component
class PythonRetries {

    private final Seen seen;

    PythonRetries(Seen seen) {
        this.seen = seen;
    }

    @KafkaListener(
            id = "py-retries-dlt",
            topics = "py.retries-dlt",
            properties = "value.deserializer=org.apache.kafka.common.serialization.ByteArrayDeserializer")
    void look(
            @Payload byte[] value,
            MessageHeaders headers,
            @Header(KafkaHeaders.ORIGINAL_TOPIC) String topic,
            @Header(KafkaHeaders.ORIGINAL_PARTITION) int partition,
            @Header(KafkaHeaders.ORIGINAL_OFFSET) long offset,
            @Header(KafkaHeaders.ORIGINAL_TIMESTAMP) long timestamp,
            @Header(KafkaHeaders.ORIGINAL_TIMESTAMP_TYPE) String timestampType,
            @Header(KafkaHeaders.ORIGINAL_CONSUMER_GROUP) String group,
            @Header(KafkaHeaders.EXCEPTION_FQCN) String exception,
            @Header(KafkaHeaders.EXCEPTION_CAUSE_FQCN) String cause,
            @Header(KafkaHeaders.EXCEPTION_MESSAGE) String message,
            @Header(KafkaHeaders.EXCEPTION_STACKTRACE) String stack,
            @Header(RetryTopicHeaders.DEFAULT_HEADER_ATTEMPTS) int attempts,
            @Header(RetryTopicHeaders.DEFAULT_HEADER_ORIGINAL_TIMESTAMP) byte[] firstSeen,
            @Header(RetryTopicHeaders.DEFAULT_HEADER_BACKOFF_TIMESTAMP) byte[] due) {
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
        typed.put("stack", stack);
        typed.put("attempts", attempts);
        typed.put("first_seen", new BigInteger(firstSeen).longValueExact());
        typed.put("due", new BigInteger(due).longValueExact());
        seen.tell("py-retries-dlt", value, headers, typed);
    }
}
