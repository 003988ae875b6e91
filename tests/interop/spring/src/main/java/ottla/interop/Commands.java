package ottla.interop;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.stereotype.Component;
import tools.jackson.databind.json.JsonMapper;

/** Sends what the Python side asks for, so that it comes as Spring sends it. */
@Component
class Commands {

    enum Mode { TYPED, MESSAGE, RAW }

    /** An order for TYPED and MESSAGE, base64 for RAW. */
    record Command(String topic, String key, Mode mode, Order order, byte[] bytes, Map<String, Object> headers) {}

    private final KafkaTemplate<Object, Object> template;
    private final JsonMapper json;

    Commands(KafkaTemplate<Object, Object> template, JsonMapper json) {
        this.template = template;
        this.json = json;
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
        }
    }

    private void send(Command command, Object value) {
        ProducerRecord<Object, Object> record = new ProducerRecord<>(command.topic(), command.key(), value);
        command.headers().forEach((name, header) ->
                record.headers().add(name, header.toString().getBytes(StandardCharsets.UTF_8)));
        template.send(record).join();
    }
}
