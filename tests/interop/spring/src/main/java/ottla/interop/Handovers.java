package ottla.interop;

import java.util.Map;
import org.springframework.kafka.annotation.BackOff;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.kafka.retrytopic.RetryTopicHeaders;
import org.springframework.messaging.MessageHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.stereotype.Component;

/** Listeners whose groups the Python side takes over, and hands over: they run when a command says so. */
@Component
class Handovers {

    private final Seen seen;

    Handovers(Seen seen) {
        this.seen = seen;
    }

    @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            autoCreateTopics = "false",
            autoStartDltHandler = "false")
    @KafkaListener(id = "sk-handover-a", topics = "sk.handover-a", autoStartup = "false")
    void toPython(
            @Payload Order order,
            MessageHeaders headers,
            @Header(name = RetryTopicHeaders.DEFAULT_HEADER_ATTEMPTS, defaultValue = "1") int attempt) {
        handle("sk-handover-a", order, headers, attempt);
    }

    @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            autoCreateTopics = "false",
            autoStartDltHandler = "false")
    @KafkaListener(id = "sk-handover-b", topics = "sk.handover-b", autoStartup = "false")
    void fromPython(
            @Payload Order order,
            MessageHeaders headers,
            @Header(name = RetryTopicHeaders.DEFAULT_HEADER_ATTEMPTS, defaultValue = "1") int attempt) {
        handle("sk-handover-b", order, headers, attempt);
    }

    @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            autoCreateTopics = "false",
            autoStartDltHandler = "false")
    @KafkaListener(id = "sk-replay-a", topics = "sk.replay-a", autoStartup = "false")
    void replayedToPython(
            @Payload Order order,
            MessageHeaders headers,
            @Header(name = RetryTopicHeaders.DEFAULT_HEADER_ATTEMPTS, defaultValue = "1") int attempt) {
        handle("sk-replay-a", order, headers, attempt);
    }

    @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            autoCreateTopics = "false",
            autoStartDltHandler = "false")
    @KafkaListener(id = "sk-replay-b", topics = "sk.replay-b", autoStartup = "false")
    void replayedFromPython(
            @Payload Order order,
            MessageHeaders headers,
            @Header(name = RetryTopicHeaders.DEFAULT_HEADER_ATTEMPTS, defaultValue = "1") int attempt) {
        handle("sk-replay-b", order, headers, attempt);
    }

    private void handle(String listener, Order order, MessageHeaders headers, int attempt) {
        seen.tell(listener, order, headers, Map.of("attempt", attempt));
        if (order.failsAt(attempt)) {
            throw new IllegalStateException("no funds");
        }
    }
}
