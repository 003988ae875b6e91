package ottla.interop;

import java.util.Map;
import org.springframework.kafka.annotation.BackOff;
import org.springframework.kafka.annotation.DltHandler;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.kafka.retrytopic.RetryTopicHeaders;
import org.springframework.messaging.MessageHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.stereotype.Component;

/** Retry topics: `sk.pay-retry-1000`, `sk.pay-retry-2000`, then `sk.pay-dlt`. */
@Component
class Payments {

    private final Seen seen;

    Payments(Seen seen) {
        this.seen = seen;
    }

    @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            autoCreateTopics = "false")
    @KafkaListener(id = "sk-pay", topics = "sk.pay")
    void pay(
            @Payload Order order,
            MessageHeaders headers,
            @Header(name = RetryTopicHeaders.DEFAULT_HEADER_ATTEMPTS, required = false) Integer attempts) {
        int attempt = attempts == null ? 1 : attempts;
        seen.tell("sk-pay", order, headers, Map.of("attempt", attempt));
        if (order.failsAt(attempt)) {
            throw new IllegalStateException("no funds");
        }
    }

    @DltHandler
    void giveUp(@Payload Order order, MessageHeaders headers) {
        seen.tell("sk-pay-dlt", order, headers, Map.of());
    }
}
