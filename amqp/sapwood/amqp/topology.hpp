// What there is in a broker: exchanges, queues, bindings, as they are asked for. Options are views:
// what they show is copied before the call returns its task. Loop thread only.
#pragma once

#include <sapwood/amqp/field.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace sapwood::amqp {

enum class queue_kind : std::uint8_t {
    /// One node's, or as the broker's policies have it.
    classic,
    /// A majority of a cluster's nodes has each message. Always durable.
    quorum,
};

/// What a full queue does, where length_max is given.
enum class when_full : std::uint8_t {
    drop_head,
    /// What is published is refused: its publisher is told, and tries again.
    reject_publish,
};

struct queue_options {
    /// Empty: a name that nobody else has.
    std::string_view name = {};
    /// It survives the broker's restart, and its persistent messages with it.
    bool durable = true;
    /// It is this connection's, and goes with it.
    bool exclusive = false;
    /// It goes with its last consumer. Behind a lost connection it is declared again even so, until
    /// delete_queue() or the end of its channel.
    bool auto_delete = false;
    /// It must be there already, whatever the rest says.
    bool passive = false;
    queue_kind kind = queue_kind::classic;
    /// A message that is older goes to the dead letters. 0: none is too old.
    std::chrono::milliseconds message_ttl{0};
    /// The queue goes when nobody has used it for so long. 0: never. Behind a lost connection it is
    /// declared again, as one with auto_delete is.
    std::chrono::milliseconds expires{0};
    /// In messages. 0: no bound.
    std::uint64_t length_max = 0;
    when_full full = when_full::drop_head;
    /// Of a quorum queue: after so many deliveries a message goes to the dead letters. 0: never.
    std::uint32_t delivery_limit = 0;
    /// Where rejected, expired and surplus messages go; null: nowhere. "" is the default exchange,
    /// whose routing keys are the names of queues.
    const char* dead_letter_exchange = nullptr;
    std::string_view dead_letter_routing_key = {};
    /// More of them, as `x-...`.
    const table* arguments = nullptr;
};

struct queue_info {
    std::string name;
    /// Ready to be delivered.
    std::uint32_t messages = 0;
    std::uint32_t consumers = 0;
};

enum class exchange_kind : std::uint8_t { direct, fanout, topic, headers };

struct exchange_options {
    std::string_view name;
    exchange_kind kind = exchange_kind::direct;
    bool durable = true;
    /// It goes with its last binding. Behind a lost connection it is declared again even so, until
    /// delete_exchange() or the end of its channel.
    bool auto_delete = false;
    /// It must be there already, whatever the rest says.
    bool passive = false;
    const table* arguments = nullptr;
};

struct binding_options {
    std::string_view queue;
    std::string_view exchange;
    std::string_view routing_key = {};
    const table* arguments = nullptr;
};

/// What becomes of a message whose body is longer than its consumer takes.
enum class when_too_long : std::uint8_t {
    /// It is rejected, as delivery::reject does, and connection_event::kind::rejected tells of it.
    reject,
    /// It is delivered without its end, and says so: delivery::is_cut().
    cut,
};

struct consume_options {
    /// Messages that are delivered and not settled, 1 to 65535. 1 is fair dispatch: who is done
    /// gets the next one; each then costs a round trip.
    std::uint16_t prefetch = 256;
    /// Nobody else consumes from this queue.
    bool exclusive = false;
    /// How the broker calls this consumer. Empty: a name that nobody else has.
    std::string_view tag = {};
    /// Of a message's body, in bytes; 0: the connection's message_bytes_max. What is longer is
    /// dropped as it comes: no more than `prefetch` times this is ever held.
    std::size_t body_bytes_max = 0;
    when_too_long too_long = when_too_long::reject;
    const table* arguments = nullptr;
};

struct publish_options {
    std::string_view content_type = {};
    std::string_view content_encoding = {};
    const table* headers = nullptr;
    /// Kept by the broker's disk, in a durable queue.
    bool persistent = true;
    /// What no queue takes is an error (errc::no_route). Otherwise such a message is confirmed all
    /// the same, and gone: right for a fanout that may have no listener.
    bool mandatory = true;
    std::uint8_t priority = 0;
    std::string_view correlation_id = {};
    std::string_view reply_to = {};
    /// 0: never.
    std::chrono::milliseconds expiration{0};
    /// By which a consumer recognises what it gets twice. Empty: one is made.
    std::string_view message_id = {};
    /// Seconds since 1970.
    std::uint64_t timestamp = 0;
    std::string_view type = {};
    std::string_view app_id = {};
};

// gcc 12 destroys options in a co_await expression twice.
static_assert(std::is_trivially_destructible_v<queue_options> &&
              std::is_trivially_destructible_v<exchange_options> &&
              std::is_trivially_destructible_v<binding_options> &&
              std::is_trivially_destructible_v<consume_options> &&
              std::is_trivially_destructible_v<publish_options>);

} // namespace sapwood::amqp
