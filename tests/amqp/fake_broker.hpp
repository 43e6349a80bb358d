// A broker in the test's own loop: queues in memory behind the default exchange, confirms,
// deliveries within the prefetch, redelivery of what a lost connection had. What it does wrong, and
// when it hangs up, the test says; who settles what it does not know has his channel closed. It
// decodes what it gets with librabbitmq, as what it is: a peer that speaks the protocol. end() must
// be awaited.
#pragma once

#include <amqp/codec.hpp>
#include <sapwood/amqp/connection.hpp>

#include <tls/tls_context.hpp>

#include <sapwood/event.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/tcp.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::test {

/// Waits, a millisecond at a time, until it holds.
template <class Holds>
task<> until(Holds holds) {
    while (!holds()) {
        co_await sleep_for(std::chrono::milliseconds(1));
    }
}

class fake_broker {
  public:
    struct message {
        /// The payload of its header frame, which is given on as it came.
        std::string header;
        std::string body;
        std::string id;
        std::string exchange;
        std::string routing_key;
        bool is_redelivered = false;
    };

    struct queue {
        std::deque<message> ready;
        /// Acknowledged, in order.
        std::vector<message> done;
        /// Rejected.
        std::vector<message> dead;
    };

    struct behaviour {
        /// Publications are not confirmed before confirm_held().
        bool holds_confirms = false;
        /// Every so manieth publication is refused, once; 0: none.
        std::uint64_t refuses_every = 0;
        /// So many declarations of queues from now on are refused: somebody else's, exclusively.
        int locks_declares = 0;
        /// So many consumers from now on are refused: somebody else consumes exclusively.
        int locks_consumes = 0;
        /// It reads nothing.
        bool is_deaf = false;
        /// What is asked on channels is not answered.
        bool is_mute = false;
        /// It hangs up when it has sent so many bytes on a connection.
        std::size_t sends_at_most = std::numeric_limits<std::size_t>::max();
        /// Or has received so many.
        std::size_t takes_at_most = std::numeric_limits<std::size_t>::max();
        /// Of a delivery's body frame.
        std::size_t body_piece_bytes = 100'000;
        std::uint32_t frame_max = 128u << 10;
        std::uint16_t channel_max = 2047;
        std::uint16_t heartbeat = 0;
        /// Said instead of everything, when a client has connected.
        std::string greeting;
        /// The reply code for whoever logs in; 0: welcome.
        std::uint16_t refuses_login = 0;
        /// Ways to log in.
        std::string mechanisms = "PLAIN AMQPLAIN";
        /// It speaks TLS.
        std::shared_ptr<const tls_context> secured;
        /// Called when a connection has begun, with its number, from 1 on.
        std::function<void(std::uint64_t)> on_connection;
    };

    fake_broker();
    fake_broker(const fake_broker&) = delete;
    fake_broker& operator=(const fake_broker&) = delete;

    behaviour does;
    std::map<std::string, queue> queues;
    /// Methods that came on channels, in order, and names of what they are about: "10.50".
    std::vector<amqp_method_number_t> methods;

    /// How the last one logged in, and with what: "PLAIN \0guest\0guest".
    std::string login;

    /// How many it was sent.
    int heartbeats = 0;

    [[nodiscard]] amqp::connection_options options() const;

    /// How many were accepted.
    [[nodiscard]] std::uint64_t connections() const noexcept { return connections_; }

    [[nodiscard]] std::size_t count(amqp_method_number_t method) const;

    /// Confirms, on all connections, all that was held: one by one, last first, or together.
    void confirm_held(bool together = true);

    /// Refuses all that was held, together.
    void refuse_held();

    /// What was delivered is the queues' again, and its consumers are not told.
    void forget_deliveries();

    /// Delivers what has come into its queues without its doing.
    void dispatch_all();

    /// Says these bytes to all who are connected.
    void say(std::string_view bytes);

    /// Says a method on this channel.
    void say(std::uint16_t channel, amqp_method_number_t id, const void* method);

    /// Hangs up on all.
    void hang_up();

    /// No longer listens; hangs up.
    [[nodiscard]] task<> end();

  private:
    class session;
    friend class session;

    task<> accept();
    task<> serve(tcp_stream with);

    tcp_listener listener_;
    join_handle<void> accepting_;
    std::vector<join_handle<void>> serving_;
    std::set<session*> sessions_;
    std::uint64_t connections_ = 0;
    std::uint64_t published_ = 0;
};

/// Into a queue, as a publisher would; it is delivered when the broker next looks at its queues.
void put_message(fake_broker& broker, const std::string& queue, const std::string& body,
                 const std::string& id, const amqp::publish_options& options = {});

} // namespace sapwood::test
