package ottla.interop;

import java.util.Map;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.messaging.MessageHeaders;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.stereotype.Component;

/** Retries in place, then `sk.orders-dlt`. */
@Component
class Orders {

    private final Seen seen;

    Orders(Seen seen) {
        this.seen = seen;
    }

    @KafkaListener(id = "sk-orders", topics = "sk.orders")
    void take(@Payload Order order, MessageHeaders headers) {
        seen.tell("sk-orders", order, headers, Map.of());
        if (order.qty() < 0) {
            throw new IllegalStateException("bad qty");
        }
    }
}
