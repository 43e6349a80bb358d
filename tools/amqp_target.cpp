// Messages to a broker (AMQP 0-9-1), one for each record, confirmed. An attempt that was given up
// goes on where it was: what is in the channel's window is not published again.
#include "send_target.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>
#include <sapwood/amqp/queue_channel.hpp>
#include <sapwood/words_of.hpp>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sapwood::tools {

namespace {

class amqp_target final : public send_target {
  public:
    explicit amqp_target(amqp_send_options options) : options_(std::move(options)) {
        wanted_.to = amqp::parse_address(options_.url);
        wanted_.name = "sapwood send";
        wanted_.answer_within = connect_within;
    }

    task<send_answer> send(std::string_view batch, std::uint64_t records) override;
    task<send_answer> finish() override;

    bool is_acknowledged() const noexcept override { return true; }

    std::uint64_t may_be_lost() const noexcept override { return 0; }

    bool goes_on() const noexcept override { return true; }

    std::uint64_t taken_of_unfinished() const noexcept override;

  private:
    task<> connect();
    task<> publish_rest(std::string_view batch);
    [[nodiscard]] static send_answer answer_to(const std::system_error& failure);

    const amqp_send_options options_;
    amqp::connection_options wanted_;
    amqp::connection mq_;
    amqp::channel channel_;
    bool is_ready_ = false;
    /// Of the batch that is not finished: bytes and messages that are in the window, or were, and
    /// those of them that no queue has taken.
    std::size_t published_bytes_ = 0;
    std::uint64_t published_ = 0;
    std::uint64_t failed_ = 0;
};

task<> amqp_target::connect() {
    if (is_ready_) {
        co_return;
    }
    mq_ = co_await amqp::connect(wanted_);
    if (options_.exchange.empty()) { // the queue is there, as it is, or as we make it
        channel_ = co_await amqp::open_queue_channel(mq_, options_.routing_key);
    } else {
        channel_ = co_await mq_.open_channel();
    }
    is_ready_ = true;
}

task<send_answer> amqp_target::send(std::string_view batch, std::uint64_t) {
    send_answer answer(send_answer::kind::taken);
    try {
        co_await connect();
        co_await publish_rest(batch);
        published_bytes_ = 0;
        published_ = 0;
    } catch (const std::system_error& failure) {
        answer = answer_to(failure);
    } catch (const std::invalid_argument& wrong) {
        answer = send_answer(send_answer::kind::hopeless, wrong.what());
    }
    if (is_ready_ && answer.is == send_answer::kind::hopeless) {
        failed_ = channel_.take_failures().size();
    }
    co_return answer;
}

task<> amqp_target::publish_rest(std::string_view batch) {
    while (published_bytes_ < batch.size()) {
        const std::size_t end = batch.find('\n', published_bytes_);
        const std::string_view record = batch.substr(published_bytes_, end - published_bytes_);
        const amqp::publish_options how{.content_type =
                                            options_.is_json ? "application/json" : "text/plain",
                                        .app_id = options_.app};
        while (channel_.publish_nowait(options_.exchange, options_.routing_key, record, how) ==
               amqp::publication::none) {
            co_await channel_.room();
        }
        published_bytes_ = end + 1;
        ++published_;
    }
    co_await channel_.confirmed();
}

/// The network's troubles may end; what the broker says is so.
send_answer amqp_target::answer_to(const std::system_error& failure) {
    const bool is_word_of_broker = failure.code().category() == amqp::category() &&
                                   failure.code() != amqp::errc::connection_forced &&
                                   failure.code() != amqp::errc::connection_lost &&
                                   failure.code() != amqp::errc::no_heartbeat;
    return send_answer(is_word_of_broker ? send_answer::kind::hopeless : send_answer::kind::again,
                       words_of(failure));
}

std::uint64_t amqp_target::taken_of_unfinished() const noexcept {
    if (!is_ready_) {
        return 0;
    }
    return published_ - std::min<std::uint64_t>(published_, channel_.unconfirmed() + failed_);
}

task<send_answer> amqp_target::finish() {
    if (is_ready_) {
        co_await mq_.close();
    }
    co_return send_answer(send_answer::kind::taken);
}

} // namespace

bool has_amqp_target() noexcept {
    return true;
}

std::unique_ptr<send_target> make_amqp(const amqp_send_options& options) {
    return std::make_unique<amqp_target>(options);
}

} // namespace sapwood::tools
