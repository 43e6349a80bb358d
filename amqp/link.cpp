#include "link.hpp"

#include "link_tls.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

constexpr clock::duration farewell_at_most = std::chrono::seconds(1);
/// What a buffer that was large once keeps of its memory.
constexpr std::size_t kept_bytes = 1u << 20;

} // namespace

task<std::unique_ptr<link>> link::make(host_port host, const connection_options& options) {
    auto over = co_await connect_securely(host, options.to);
    auto made = std::make_unique<link>(std::move(over), options);
    try {
        co_await made->greet(options);
    } catch (const std::system_error& failure) {
        // A certificate of ours that is refused is refused when TLS has begun, and not before.
        rethrow_tls(failure, host, options.to);
    }
    co_return made;
}

link::link(std::unique_ptr<peer_stream> over, const connection_options& options)
    : stream_(std::move(over)),
      splitter_(std::max(frame_bytes_least, options.frame_bytes_max)) {}

task<> link::read(link_listener& to) {
    last_received_ = event_loop::current().now();
    for (frame one; splitter_.next(rest_, one);) {
        to.take(one);
    }
    while (true) {
        piece_ = co_await stream_->receive();
        if (piece_.empty()) {
            throw std::system_error(errc::connection_lost, "the broker has hung up");
        }
        last_received_ = event_loop::current().now();
        rest_ = piece_.text();
        for (frame one; splitter_.next(rest_, one);) {
            to.take(one);
        }
    }
}

task<> link::write() {
    while (true) {
        if (out_.empty()) {
            wake_.reset();
            co_await wake_.wait();
            continue;
        }
        is_writing_ = true;
        co_await send();
        is_writing_ = false;
    }
}

task<> link::send() {
    sending_.clear();
    if (sending_.capacity() > kept_bytes) {
        sending_.shrink_to_fit();
    }
    std::swap(sending_, out_);
    forgiven_bytes_ = 0;
    co_await stream_->write_all(std::string_view(sending_));
    last_sent_ = event_loop::current().now();
}

task<> link::beat() {
    event_loop& loop = event_loop::current();
    last_received_ = last_sent_ = loop.now();
    if (heartbeat_ == clock::duration::zero()) {
        co_return;
    }
    bool was_silent = false;
    while (true) {
        co_await sleep_for(heartbeat_ / 2);
        const clock::time_point now = loop.now();
        const bool is_silent = now - last_received_ > 2 * heartbeat_;
        // Not the first time: it may have been us who were busy, and what it said is still to read.
        if (is_silent && was_silent) {
            throw std::system_error(errc::no_heartbeat, "the broker is silent");
        }
        was_silent = is_silent;
        if (now - last_sent_ >= heartbeat_ / 2 && out_.empty() && !is_writing_) {
            put_heartbeat(out_);
            flush();
        }
    }
}

task<> link::end() {
    if (!out_.empty() && !is_writing_) {
        try {
            co_await timeout(farewell_at_most, send());
        } catch (const std::system_error&) { // it is lost already, or does not take it
        }
    }
    try {
        co_await timeout(farewell_at_most, stream_->close());
    } catch (const std::system_error&) {
    }
}

} // namespace sapwood::amqp::detail
