// The consumer of a queue: two tasks, one that takes messages and gives them to the log, one that
// waits until they are kept and then acknowledges them, so that messages come while the disk works.
#include "queue_source.hpp"

#include "message_encoder.hpp"
#include "message_ids.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>
#include <sapwood/amqp/queue_channel.hpp>

#include <sapwood/event.hpp>
#include <sapwood/random_backoff.hpp>
#include <sapwood/result.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/words_of.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace sapwood::collector {

namespace {

/// The time that a batch has to become half of the prefetch: a sync and an acknowledgement cost
/// as much for one message as for a hundred. A broker that has as many sends them in about that.
constexpr clock::duration batch_fills_within = std::chrono::milliseconds(1);

class amqp_source final : public queue_source {
  public:
    amqp_source(const queue_options& options, intake& shared, named_log& to, queue_status& status)
        : options_(options),
          intake_(shared),
          log_(to),
          status_(status),
          queue_(as_word(options.queue)),
          encoder_(shared, to, queue_) {}

    void start() override { working_ = spawn(run(), {.name = "queue"}); }

    void stop() noexcept override {
        is_stopping_ = true;
        told_to_end_->store(true, std::memory_order_relaxed);
        if (is_consuming_) {
            deliveries_.reset();
        } else if (working_) {
            working_.cancel();
        }
    }

    task<> finish(clock::time_point until) override {
        if (!working_) {
            co_return;
        }
        (void)co_await as_result(sapwood::deadline(until, over_.wait()));
        working_.cancel();
        try {
            co_await working_;
        } catch (const cancelled&) { // as it was told to
        }
        if (status_.unsettled != 0) {
            say(fmt::format("queue {}: {} messages are left to the broker", status_.name,
                            status_.unsettled));
        }
    }

    void change(const queue_options& options) override {
        if (options == options_) {
            return;
        }
        options_ = options;
        ++generation_;
        deliveries_.reset();
        changed_.set();
    }

    const queue_options& options() const noexcept override { return options_; }

  private:
    /// Messages that were given to the log one after the other.
    struct batch {
        std::uint64_t messages = 0;
        /// Where their records are, among others'. Those of what came again are before.
        lsn first = lsn::none;
        lsn place = lsn::none;
        /// Of the log, before the first one.
        std::uint64_t lost_before = 0;
        /// That were new.
        std::size_t ids = 0;
        /// Too long for a record.
        std::vector<amqp::delivery> rejected;
        /// Of the others.
        std::optional<amqp::delivery> last;
    };

    task<> run();
    task<> consume();
    task<> read_ids();
    task<> take();
    task<> give(const amqp::delivery& message, std::string_view body, batch& of);
    [[nodiscard]] receipt receipt_of(lsn place) noexcept;
    task<> settle();
    task<> require_none_lost(const batch& of);
    void settle(batch& what);
    void note_event(const amqp::connection_event& what);
    void note_down(const std::string& why);
    void note_up();
    void note_rejected(const amqp::delivery& which);

    queue_options options_;
    intake& intake_;
    named_log& log_;
    queue_status& status_;
    const std::string queue_;
    message_encoder encoder_;
    join_handle<void> working_;
    /// It is not working any more.
    event over_;
    bool is_stopping_ = false;
    /// Which options are used.
    unsigned generation_ = 0;
    event changed_;
    std::optional<amqp::consumer> deliveries_;
    bool is_consuming_ = false;
    /// What has become of records is not known: the log says which messages it has.
    bool must_read_ids_ = true;
    /// Those of messages that are kept, or will be: shared with a thread that reads more of them.
    std::shared_ptr<amqp::recent_ids> ids_ =
        std::make_shared<amqp::recent_ids>(recent_lines_limits{}.ids);
    /// Shared with it as well: it does not read on.
    std::shared_ptr<std::atomic<bool>> told_to_end_ = std::make_shared<std::atomic<bool>>(false);
    /// So many of the newest are of messages of which that is not known yet.
    std::size_t ids_unsettled_ = 0;
    /// Of the message that is given, as it stands in the log; kept for its memory.
    std::string id_;
    lsn last_ = lsn::none;
    std::deque<batch> given_;
    event has_given_;
    bool is_taken_ = false;
};

/// Until it is told to stop.
task<> amqp_source::run() {
    struct at_end {
        event& over;

        ~at_end() { over.set(); }
    };

    const at_end end{over_};
    detail::random_backoff delays(std::chrono::milliseconds(100), std::chrono::seconds(10));
    while (!is_stopping_) {
        std::string failure;
        changed_.reset();
        try {
            co_await consume();
        } catch (const std::system_error& why) {
            failure = words_of(why);
        } catch (const std::exception& why) {
            failure = why.what();
        }
        if (std::exchange(is_consuming_, false)) {
            delays.succeeded();
        }
        deliveries_.reset();
        given_.clear();
        status_.unsettled = 0;
        if (!failure.empty() && !is_stopping_) {
            note_down(failure);
            (void)co_await as_result(timeout(delays.failed(), changed_.wait()));
        }
    }
}

/// On one connection, which is made again where it breaks, until it is told to stop or to use
/// another one. Throws where the broker, or the log, does not let it go on.
task<> amqp_source::consume() {
    if (must_read_ids_) {
        co_await read_ids();
    }
    const unsigned generation = generation_;
    amqp::connection_options wanted;
    wanted.to = amqp::parse_address(options_.url);
    wanted.name = "sapwood serve";
    wanted.on_event = [this](const amqp::connection_event& what) { note_event(what); };
    amqp::connection mq = co_await amqp::connect(wanted);
    amqp::channel channel = co_await amqp::open_queue_channel(mq, options_.queue);
    const amqp::consume_options how{.prefetch = options_.prefetch,
                                    .body_bytes_max = encoder_.body_bytes_max(),
                                    .too_long = amqp::when_too_long::cut};
    deliveries_.emplace(co_await channel.consume(options_.queue, how));
    if (generation != generation_ || is_stopping_) {
        deliveries_.reset();
        co_return;
    }
    is_consuming_ = true;
    note_up();
    is_taken_ = false;
    try {
        co_await with_task_group([this](task_group& group) -> task<> {
            group.spawn(settle(), {.name = "acknowledge"});
            co_await take();
            is_taken_ = true;
            has_given_.set();
        });
    } catch (...) {
        must_read_ids_ = true;
        throw;
    }
    status_.is_up = false;
    status_.why.clear();
    co_await mq.close();
}

task<> amqp_source::read_ids() {
    // What is not in the file yet may come to be in it; and what is there counts as kept as soon as
    // it comes again.
    co_await log_.log().flush();
    // The newest that is not lost speaks for those before it: of one that is nobody waits for more.
    bool is_lost = true;
    for (lsn last = std::exchange(last_, lsn::none); is_lost && last != lsn::none;
         last = lsn{to_number(last) - 1}) {
        try {
            co_await receipt_of(last);
            is_lost = false;
        } catch (const std::system_error& why) {
            is_lost = why.code() == errc::lost;
        }
    }
    ids_->forget_newest(std::exchange(ids_unsettled_, 0));
    // Twice as many as come again at most, in case settings have said more before.
    const recent_lines_limits limits{.ids_least = 2 * std::size_t{options_.prefetch}};
    const auto read = [path = log_.options().path, form = log_.options().form, queue = queue_,
                       limits, to = ids_, told_to_end = told_to_end_] {
        read_message_ids(path, form, queue, limits, *to, told_to_end.get());
    };
    co_await run_blocking(read);
    must_read_ids_ = false;
}

task<> amqp_source::take() {
    std::vector<amqp::delivery> messages;
    while (deliveries_) {
        // Half of the prefetch at a time: the broker sends more while the disk works.
        const std::size_t most = std::max<std::size_t>(1, options_.prefetch / 2);
        // Not behind &&, where gcc 12 awaits all the same.
        if (co_await deliveries_->next_many(messages, most, batch_fills_within) == 0) {
            break;
        }
        const auto count = static_cast<std::uint64_t>(messages.size());
        status_.messages += count;
        status_.unsettled += count;
        batch made;
        made.lost_before = log_.log().counts().lines_lost;
        for (amqp::delivery& each : messages) {
            const std::string_view body = encoder_.body_of(each);
            const bool is_rejected = encoder_.is_too_long(each, body);
            co_await give(each, body, made);
            if (is_rejected) {
                note_rejected(each);
                made.rejected.push_back(std::move(each));
            } else {
                made.last.emplace(std::move(each));
            }
        }
        messages.clear();
        made.messages = count;
        made.place = last_;
        made.first = made.first == lsn::none ? last_ : made.first;
        given_.push_back(std::move(made));
        has_given_.set();
    }
}

/// The record is made before anything is waited for: until then `body` is there.
task<> amqp_source::give(const amqp::delivery& message, std::string_view body, batch& of) {
    put_message_id(log_.options().form, queue_, message.props().message_id, id_);
    if (!ids_->insert(id_)) {
        ++status_.duplicates;
        co_return;
    }
    if (!id_.empty()) {
        ++of.ids;
        ++ids_unsettled_;
    }
    const record_view line = encoder_.encode(message, body);
    const std::size_t bytes = line.size();
    lsn place = log_.is_full() ? lsn::none : log_.log().append_now(line);
    if (place == lsn::none) {
        record made(line);
        while (log_.is_full()) {
            co_await log_.room();
        }
        place = co_await log_.log().append(std::move(made));
    }
    intake_.note_given(log_, place, bytes);
    of.first = of.first == lsn::none ? place : of.first;
    last_ = place;
}

receipt amqp_source::receipt_of(lsn place) noexcept {
    return log_.can_tell(ack_level::durable) ? log_.log().durable(place)
                                             : log_.log().written(place);
}

task<> amqp_source::settle() {
    for (;;) {
        if (given_.empty()) {
            if (is_taken_) {
                co_return;
            }
            has_given_.reset();
            co_await has_given_.wait();
            continue;
        }
        batch& next = given_.front();
        if (next.place != lsn::none) {
            co_await receipt_of(next.place);
            co_await require_none_lost(next);
        }
        settle(next);
        given_.pop_front();
    }
}

/// The log gets on behind a record that is lost, as where there was no memory for it: the place of
/// the last one, which it has reached, does not speak for those before it.
task<> amqp_source::require_none_lost(const batch& of) {
    if (log_.log().counts().lines_lost == of.lost_before) [[likely]] {
        co_return;
    }
    for (lsn place = of.first; place != of.place; place = place + 1) {
        co_await receipt_of(place);
    }
}

/// What is kept. Where the connection it came by is gone, it comes again, and is recognised.
void amqp_source::settle(batch& what) {
    for (amqp::delivery& each : what.rejected) { // before they would be acknowledged with others
        status_.rejected += each.reject().await_resume() ? 1 : 0;
    }
    if (what.last && what.last->ack_through().await_resume()) {
        status_.acknowledged += what.messages - what.rejected.size();
    }
    status_.unsettled -= what.messages;
    ids_unsettled_ -= what.ids;
}

// --- how it is ---

void amqp_source::note_event(const amqp::connection_event& what) {
    using kind = amqp::connection_event::kind;
    if (what.what == kind::up) {
        note_up();
    } else if (what.what == kind::down && !is_stopping_) {
        note_down(what.text);
    }
}

void amqp_source::note_up() {
    if (status_.connections++ > 0) {
        intake_.tell(fmt::format("queue {}: it is consumed again", status_.name));
    }
    status_.is_up = true;
    status_.why.clear();
}

void amqp_source::note_down(const std::string& why) {
    if (status_.is_up || status_.why != why) {
        intake_.tell(fmt::format("queue {}: {}; it is tried again", status_.name, why));
    }
    status_.is_up = false;
    status_.why = why;
}

void amqp_source::note_rejected(const amqp::delivery& which) {
    intake_.tell(fmt::format("queue {}: a message of {} bytes, with the id '{}', is longer than a "
                             "record, of {} at most (record_bytes): it is cut in the log, and "
                             "rejected",
                             status_.name, which.body_bytes(), as_word(which.props().message_id),
                             intake_.limits.json.record_bytes_max));
}

} // namespace

bool can_consume_queues() noexcept {
    return true;
}

void require_valid(const queue_options& options) {
    constexpr std::size_t name_bytes_most = 255; // AMQP's
    const std::string name = as_word(options.queue);
    if (options.queue.empty() || options.queue.size() > name_bytes_most) {
        throw std::invalid_argument(
            fmt::format("the name of a queue has 1 to {} bytes, and \"{}\" has {}", name_bytes_most,
                        name, options.queue.size()));
    }
    if (options.prefetch == 0) {
        throw std::invalid_argument(
            fmt::format("queue {}: prefetch is 1 to 65535: with none nothing would come", name));
    }
    try {
        (void)amqp::parse_address(options.url);
    } catch (const std::invalid_argument& wrong) {
        throw std::invalid_argument(fmt::format("queue {}: {}", name, wrong.what()));
    }
}

std::unique_ptr<queue_source> make_queue_source(const queue_options& options, intake& shared,
                                                named_log& to, queue_status& status) {
    require_valid(options);
    return std::make_unique<amqp_source>(options, shared, to, status);
}

} // namespace sapwood::collector
