// A connection of the fake broker's: what it was sent, and what it says to that. For
// fake_broker.cpp alone.
#pragma once

#include "fake_broker.hpp"

#include <tls/peer_stream.hpp>

#include <sapwood/result.hpp>
#include <sapwood/task_group.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood::test {

inline constexpr std::size_t protocol_header_bytes = 8;

inline void put_frame(std::string& out, int type, std::uint16_t channel, std::string_view payload) {
    out += static_cast<char>(type);
    out += static_cast<char>(channel >> 8);
    out += static_cast<char>(channel & 0xff);
    for (int shift = 24; shift >= 0; shift -= 8) {
        out += static_cast<char>(payload.size() >> shift & 0xff);
    }
    out += payload;
    out += static_cast<char>(AMQP_FRAME_END);
}

inline std::string with_body_size(std::string header, std::size_t size) {
    for (std::size_t i = 0; i < 8; ++i) {
        header[4 + i] = static_cast<char>(size >> (56 - 8 * i) & 0xff);
    }
    return header;
}

class fake_broker::session {
    using frame = amqp::detail::frame;

  public:
    session(fake_broker& of, std::unique_ptr<peer_stream> with)
        : broker_(of),
          stream_(std::move(with)) {
        ::init_amqp_pool(&pool_, 4096);
        broker_.sessions_.insert(this);
    }

    ~session() {
        broker_.sessions_.erase(this);
        for (auto& [number, one] : channels_) {
            take_back(one);
        }
        ::empty_amqp_pool(&pool_);
        broker_.dispatch_all();
    }

    session(const session&) = delete;
    session& operator=(const session&) = delete;

    task<> run() {
        try {
            co_await with_task_group([this](task_group& group) -> task<> {
                group.spawn(write());
                co_await read();
            });
        } catch (const std::system_error&) { // either side has hung up
        }
        co_await stream_->close();
    }

    void say(std::string_view bytes) {
        out_ += bytes;
        wake_.set();
    }

    template <class Method>
    void say(std::uint16_t channel, amqp_method_number_t id, const Method& it) {
        amqp::detail::put_method(out_, channel, id, &it);
        wake_.set();
    }

    void say_any(std::uint16_t channel, amqp_method_number_t id, const void* it) {
        amqp::detail::put_method(out_, channel, id, it);
        wake_.set();
    }

    void hang_up() {
        is_over_ = true;
        wake_.set();
        (void)::shutdown(stream_->socket().fd(), SHUT_RDWR);
    }

    void confirm_held(bool together, bool is_refused) {
        for (auto& [number, one] : channels_) {
            auto held = std::exchange(one.held, {});
            if (together && !held.empty()) {
                held = {held.back()};
            }
            for (auto tag = held.rbegin(); tag != held.rend(); ++tag) {
                confirm(number, *tag, together, is_refused);
            }
        }
    }

    void forget_deliveries() {
        for (auto& [number, one] : channels_) {
            take_back(one);
        }
    }

    void dispatch() {
        for (auto& [number, one] : channels_) {
            for (auto& [tag, consumer] : one.consumers) {
                auto& from = broker_.queues[consumer.queue];
                while (!from.ready.empty() && consumer.unsettled < consumer.prefetch) {
                    deliver(number, one, tag, consumer, from);
                }
            }
        }
    }

  private:
    struct consuming {
        std::string queue;
        std::size_t prefetch = 0;
        std::size_t unsettled = 0;
    };

    struct out_there {
        std::string consumer;
        std::string queue;
        message what;
    };

    struct talk {
        bool confirms = false;
        /// By us, and the client has not said that it knows.
        bool is_closed = false;
        std::uint64_t published = 0;
        std::uint64_t delivered = 0;
        std::size_t prefetch = 0;
        std::vector<std::uint64_t> held;
        std::map<std::string, consuming> consumers;
        std::map<std::uint64_t, out_there> unsettled;
        message coming;
        bool is_mandatory = false;
        std::size_t body_bytes = 0;
    };

    task<> read() {
        if (!broker_.does.greeting.empty()) {
            say(broker_.does.greeting);
        }
        std::string head;
        while (true) {
            while (broker_.does.is_deaf) {
                co_await sleep_for(std::chrono::milliseconds(1));
            }
            const received piece = co_await stream_->receive();
            received_ += piece.bytes().size();
            if (piece.empty() || received_ > broker_.does.takes_at_most) {
                throw std::system_error(std::make_error_code(std::errc::connection_reset));
            }
            std::string_view rest = piece.text();
            if (head.size() < protocol_header_bytes) {
                const auto taken = std::min(protocol_header_bytes - head.size(), rest.size());
                head += rest.substr(0, taken);
                rest.remove_prefix(taken);
                if (head.size() == protocol_header_bytes && broker_.does.greeting.empty()) {
                    greet();
                }
            }
            for (frame one; splitter_.next(rest, one);) {
                take(one);
            }
            broker_.dispatch_all();
        }
    }

    task<> write() {
        std::string sending;
        while (true) {
            if (is_over_) {
                (void)::shutdown(stream_->socket().fd(), SHUT_RDWR); // which the reader sees
                co_return;
            }
            if (out_.empty()) {
                wake_.reset();
                co_await wake_.wait();
                continue;
            }
            sending = std::exchange(out_, {});
            const std::size_t left = broker_.does.sends_at_most - sent_;
            is_over_ = sending.size() >= left;
            sending.resize(std::min(sending.size(), left));
            sent_ += sending.size();
            co_await stream_->write_all(std::string_view(sending));
        }
    }

    void greet() {
        amqp_connection_start_t start{};
        start.version_minor = 9;
        start.mechanisms = amqp::detail::bytes(broker_.does.mechanisms);
        start.locales = amqp::detail::bytes("en_US");
        say(0, AMQP_CONNECTION_START_METHOD, start);
    }

    void take(const frame& from) {
        if (from.type == AMQP_FRAME_HEARTBEAT) {
            ++broker_.heartbeats;
            return;
        }
        talk& on = channels_[from.channel];
        if (from.type == AMQP_FRAME_HEADER) {
            on.coming.header = from.payload;
            on.body_bytes = 0;
            for (std::size_t i = 4; i < 12; ++i) {
                on.body_bytes = on.body_bytes << 8 | static_cast<unsigned char>(from.payload[i]);
            }
            if (on.body_bytes == 0) {
                take_message(from.channel, on);
            }
        } else if (from.type == AMQP_FRAME_BODY) {
            on.coming.body += from.payload;
            if (on.coming.body.size() == on.body_bytes) {
                take_message(from.channel, on);
            }
        } else {
            amqp_method_number_t id = 0;
            for (const char each : from.payload.substr(0, 4)) {
                id = id << 8 | static_cast<unsigned char>(each);
            }
            ::recycle_amqp_pool(&pool_);
            void* it = nullptr;
            if (::amqp_decode_method(id, &pool_, amqp::detail::bytes(from.payload.substr(4)), &it) <
                0) {
                throw std::logic_error("the client says what nobody can read");
            }
            broker_.methods.push_back(id);
            if (id == AMQP_CONNECTION_START_OK_METHOD) {
                const auto& ok = *static_cast<amqp_connection_start_ok_t*>(it);
                broker_.login = fmt::format("{} {}", amqp::detail::view(ok.mechanism),
                                            amqp::detail::view(ok.response));
            }
            if (from.channel == 0) {
                take_connection(id);
            } else if (on.is_closed) {
                if (id == AMQP_CHANNEL_CLOSE_OK_METHOD) {
                    on = talk();
                }
            } else if (!broker_.does.is_mute) {
                take_method(from.channel, on, {id, it});
            }
        }
    }

    void take_connection(amqp_method_number_t id) {
        if (id == AMQP_CONNECTION_START_OK_METHOD && broker_.does.refuses_login != 0) {
            amqp_connection_close_t close{};
            close.reply_code = broker_.does.refuses_login;
            close.reply_text = amqp::detail::bytes("ACCESS_REFUSED - Login was refused");
            say(0, AMQP_CONNECTION_CLOSE_METHOD, close);
        } else if (id == AMQP_CONNECTION_START_OK_METHOD) {
            amqp_connection_tune_t tune{broker_.does.channel_max, broker_.does.frame_max,
                                        broker_.does.heartbeat};
            say(0, AMQP_CONNECTION_TUNE_METHOD, tune);
        } else if (id == AMQP_CONNECTION_OPEN_METHOD) {
            say(0, AMQP_CONNECTION_OPEN_OK_METHOD, amqp_connection_open_ok_t{});
        } else if (id == AMQP_CONNECTION_CLOSE_METHOD) {
            say(0, AMQP_CONNECTION_CLOSE_OK_METHOD, amqp_connection_close_ok_t{});
        }
    }

    void take_method(std::uint16_t number, talk& on, const amqp::detail::method& said);
    void settle(std::uint16_t number, talk& on, const amqp_basic_ack_t& ack);
    void settle(std::uint16_t number, talk& on, const amqp_basic_reject_t& reject);

    /// What was delivered on it is the queues' again.
    void take_back(talk& on) {
        for (auto each = on.unsettled.rbegin(); each != on.unsettled.rend(); ++each) {
            each->second.what.is_redelivered = true;
            broker_.queues[each->second.queue].ready.push_front(std::move(each->second.what));
        }
        on.unsettled.clear();
    }

    /// As RabbitMQ does, which knows each tag that it has given out and that is not settled.
    [[nodiscard]] bool knows_tag(std::uint16_t number, talk& on, std::uint64_t tag) {
        if (on.unsettled.contains(tag)) {
            return true;
        }
        take_back(on);
        on.consumers.clear();
        on.is_closed = true;
        const std::string text = fmt::format("PRECONDITION_FAILED - unknown delivery tag {}", tag);
        const amqp_channel_close_t close{406, amqp::detail::bytes(text), 60, 80};
        say(number, AMQP_CHANNEL_CLOSE_METHOD, close);
        return false;
    }

    std::map<std::uint64_t, out_there>::iterator
    settle(talk& on, std::map<std::uint64_t, out_there>::iterator at,
           std::vector<message> queue::*where) {
        if (const auto found = on.consumers.find(at->second.consumer);
            found != on.consumers.end()) {
            --found->second.unsettled;
        }
        (broker_.queues[at->second.queue].*where).push_back(std::move(at->second.what));
        return on.unsettled.erase(at);
    }

    void take_message(std::uint16_t number, talk& on) {
        const std::uint64_t tag = ++on.published;
        ++broker_.published_;
        message what = std::exchange(on.coming, {});
        void* props = nullptr;
        ::recycle_amqp_pool(&pool_);
        if (::amqp_decode_properties(AMQP_BASIC_CLASS, &pool_,
                                     amqp::detail::bytes(std::string_view(what.header).substr(12)),
                                     &props) < 0) {
            throw std::logic_error("the client publishes with properties that nobody can read");
        }
        what.id =
            amqp::detail::view(static_cast<const amqp_basic_properties_t*>(props)->message_id);
        const auto every = broker_.does.refuses_every;
        const bool is_refused = every != 0 && broker_.published_ % every == 0;
        const auto to = broker_.queues.find(what.routing_key);
        if (to == broker_.queues.end() && on.is_mandatory) {
            give_back(number, what);
        } else if (to != broker_.queues.end() && !is_refused) {
            to->second.ready.push_back(std::move(what));
        }
        if (broker_.does.holds_confirms) {
            on.held.push_back(tag);
        } else if (on.confirms) {
            confirm(number, tag, false, is_refused);
        }
    }

    void give_back(std::uint16_t number, const message& what) {
        amqp_basic_return_t back{};
        back.reply_code = AMQP_NO_ROUTE;
        back.reply_text = amqp::detail::bytes("NO_ROUTE");
        back.exchange = amqp::detail::bytes(what.exchange);
        back.routing_key = amqp::detail::bytes(what.routing_key);
        say(number, AMQP_BASIC_RETURN_METHOD, back);
        say_content(number, what);
    }

    void confirm(std::uint16_t number, std::uint64_t tag, bool multiple, bool is_refused) {
        if (is_refused) {
            const amqp_basic_nack_t nack{tag, multiple ? 1 : 0, 0};
            say(number, AMQP_BASIC_NACK_METHOD, nack);
        } else {
            const amqp_basic_ack_t ack{tag, multiple ? 1 : 0};
            say(number, AMQP_BASIC_ACK_METHOD, ack);
        }
    }

    void say_content(std::uint16_t number, const message& what) {
        put_frame(out_, AMQP_FRAME_HEADER, number, with_body_size(what.header, what.body.size()));
        for (std::string_view rest = what.body; !rest.empty();) {
            const auto piece = rest.substr(0, broker_.does.body_piece_bytes);
            put_frame(out_, AMQP_FRAME_BODY, number, piece);
            rest.remove_prefix(piece.size());
        }
        wake_.set();
    }

    void deliver(std::uint16_t number, talk& on, const std::string& tag, consuming& to,
                 queue& from) {
        amqp_basic_deliver_t delivery{};
        delivery.consumer_tag = amqp::detail::bytes(tag);
        delivery.delivery_tag = ++on.delivered;
        delivery.redelivered = from.ready.front().is_redelivered ? 1 : 0;
        delivery.routing_key = amqp::detail::bytes(from.ready.front().routing_key);
        say(number, AMQP_BASIC_DELIVER_METHOD, delivery);
        say_content(number, from.ready.front());
        on.unsettled[on.delivered] = {tag, to.queue, std::move(from.ready.front())};
        from.ready.pop_front();
        ++to.unsettled;
    }

    fake_broker& broker_;
    const std::unique_ptr<peer_stream> stream_;
    amqp::detail::frame_splitter splitter_{1u << 20};
    amqp_pool_t pool_{};
    std::map<std::uint16_t, talk> channels_;
    std::string out_;
    event wake_;
    bool is_over_ = false;
    std::size_t sent_ = 0;
    std::size_t received_ = 0;
};

} // namespace sapwood::test
