package ottla.interop;

import org.springframework.kafka.annotation.BackOff;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.kafka.retrytopic.SameIntervalTopicReuseStrategy;
import org.springframework.kafka.retrytopic.TopicSuffixingStrategy;
import org.springframework.stereotype.Component;

/** Never run: Spring makes their topics, each kind of name that it has. */
@Component
class Named {

    @RetryableTopic(autoStartDltHandler = "false")
    @KafkaListener(id = "named-plain", topics = "named.plain", autoStartup = "false")
    void plain(Order order) {}

    @RetryableTopic(
            attempts = "4",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            autoStartDltHandler = "false")
    @KafkaListener(id = "named-delay", topics = "named.delay", autoStartup = "false")
    void delay(Order order) {}

    @RetryableTopic(
            attempts = "3",
            backOff = @BackOff(delay = 1000, multiplier = 2),
            topicSuffixingStrategy = TopicSuffixingStrategy.SUFFIX_WITH_INDEX_VALUE,
            autoStartDltHandler = "false")
    @KafkaListener(id = "named-index", topics = "named.index", autoStartup = "false")
    void index(Order order) {}

    @RetryableTopic(
            attempts = "5",
            backOff = @BackOff(delay = 1000, multiplier = 2, maxDelay = 2000),
            sameIntervalTopicReuseStrategy = SameIntervalTopicReuseStrategy.MULTIPLE_TOPICS,
            autoStartDltHandler = "false")
    @KafkaListener(id = "named-both", topics = "named.both", autoStartup = "false")
    void both(Order order) {}
}
