package ottla.interop;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.MessageHeaders;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.stereotype.Component;
import tools.jackson.databind.json.JsonMapper;

/** Sends what the Python side asks for, so that it comes as Spring sends it, and starts and stops listeners. */
@Component
class Commands {

    enum Mode { TYPED, MESSAGE, RAW, START, STOP }

    /** An order for TYPED and MESSAGE, base64 for RAW, the id of a listener for START and STOP. */
    record Command(
            String topic,
            String key,
            Mode mode,
            Order order,
            byte[] bytes,
            Map<String, Object> headers,
            String listener) {}

    private final KafkaTemplate<Object, Object> template;
    private final KafkaListenerEndpointRegistry listeners;
    private final JsonMapper json;
    private final Seen seen;

    Commands(
            KafkaTemplate<Object, Object> template,
            KafkaListenerEndpointRegistry listeners,
            JsonMapper json,
            Seen seen) {
        this.template = template;
        this.listeners = listeners;
        this.json = json;
        this.seen = seen;
    }

    @KafkaListener(
            id = "commands",
            topics = "commands",
            properties = "value.deserializer=org.apache.kafka.common.serialization.StringDeserializer")
    void obey(String text) {
        Command command = json.readValue(text, Command.class);
        switch (command.mode()) {
            case TYPED -> send(command, command.order());
            case RAW -> send(command, command.bytes());
            case MESSAGE -> template.send(MessageBuilder.withPayload(command.order())
                            .copyHeaders(command.headers())
                            .setHeader(KafkaHeaders.TOPIC, command.topic())
                            .setHeader(KafkaHeaders.KEY, command.key())
                            .build())
                    .join();
            case START -> {
                listeners.getListenerContainer(command.listener()).start();
                done(command);
            }
            case STOP -> { // returns when its consumers have left their group
                listeners.getListenerContainer(command.listener()).stop();
                done(command);
            }
        }
    }

    private void done(Command command) {
        seen.tell(command.mode().name(), command.listener(), new MessageHeaders(Map.of()), Map.of());
    }

    private void send(Command command, Object value) {
        ProducerRecord<Object, Object> record = new ProducerRecord<>(command.topic(), command.key(), value);
        command.headers().forEach((name, header) ->
                record.headers().add(name, header.toString().getBytes(StandardCharsets.UTF_8)));
        template.send(record).join();
    }
}
