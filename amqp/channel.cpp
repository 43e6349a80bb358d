#include <sapwood/amqp/channel.hpp>

#include "channel_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood::amqp {

namespace {

/// The library would cut what is longer.
std::string_view name(std::string_view of, const char* what) {
    if (of.size() > 255) {
        throw std::invalid_argument(
            fmt::format("AMQP: the {} has {} bytes, and 255 are the most", what, of.size()));
    }
    return of;
}

template <class Method>
std::string encoded(std::uint16_t channel, amqp_method_number_t id, const Method& it) {
    std::string frames;
    detail::put_method(frames, channel, id, &it);
    return frames;
}

table arguments_of(const queue_options& options) {
    table made;
    const auto number = [&](const char* of, std::int64_t value) {
        if (value != 0) {
            made.push_back({of, value});
        }
    };
    if (options.kind == queue_kind::quorum) {
        made.push_back({"x-queue-type", "quorum"});
    }
    number("x-message-ttl", options.message_ttl.count());
    number("x-expires", options.expires.count());
    number("x-max-length", static_cast<std::int64_t>(options.length_max));
    number("x-delivery-limit", options.delivery_limit);
    if (options.full == when_full::reject_publish) {
        made.push_back({"x-overflow", "reject-publish"});
    }
    if (options.dead_letter_exchange != nullptr) {
        made.push_back({"x-dead-letter-exchange", options.dead_letter_exchange});
    }
    if (!options.dead_letter_routing_key.empty()) {
        made.push_back({"x-dead-letter-routing-key", options.dead_letter_routing_key});
    }
    if (options.arguments != nullptr) {
        made.insert(made.end(), options.arguments->begin(), options.arguments->end());
    }
    return made;
}

const char* to_text(exchange_kind kind) noexcept {
    switch (kind) {
    case exchange_kind::direct:
        return "direct";
    case exchange_kind::fanout:
        return "fanout";
    case exchange_kind::topic:
        return "topic";
    case exchange_kind::headers:
        return "headers";
    }
    return "";
}

template <class Binding>
std::string encode_binding(detail::channel_state& on, amqp_method_number_t id,
                           const binding_options& options) {
    detail::table_builder tables;
    Binding it{};
    it.queue = detail::bytes(name(options.queue, "queue"));
    it.exchange = detail::bytes(name(options.exchange, "exchange"));
    it.routing_key = detail::bytes(name(options.routing_key, "routing key"));
    if (options.arguments != nullptr) {
        it.arguments = tables.build(*options.arguments);
    }
    return encoded(on.number(), id, it);
}

task<queue_info> declare(std::shared_ptr<detail::channel_state> on, std::string frames,
                         bool is_kept, std::string what) {
    constexpr auto expected = AMQP_QUEUE_DECLARE_OK_METHOD;
    detail::answer said;
    if (is_kept) {
        said = co_await on->declare(std::move(frames), expected, std::move(what));
    } else {
        said = co_await on->call(std::move(frames), expected, std::move(what));
    }
    co_return queue_info{std::move(said.text), said.first, said.second};
}

task<> declare(std::shared_ptr<detail::channel_state> on, std::string frames,
               amqp_method_number_t expected, bool is_kept, std::string what) {
    if (is_kept) {
        (void)co_await on->declare(std::move(frames), expected, std::move(what));
    } else {
        (void)co_await on->call(std::move(frames), expected, std::move(what));
    }
}

task<std::uint32_t> count(std::shared_ptr<detail::channel_state> on, std::string frames,
                          amqp_method_number_t expected, std::string what) {
    const detail::answer said = co_await on->call(std::move(frames), expected, std::move(what));
    co_return said.first;
}

task<> unbind_and_forget(std::shared_ptr<detail::channel_state> on, std::string frames,
                         std::string bound, std::string what) {
    on->forget_binding(bound);
    (void)co_await on->call(std::move(frames), AMQP_QUEUE_UNBIND_OK_METHOD, std::move(what));
}

task<consumer> begin(std::shared_ptr<detail::channel_state> on,
                     std::shared_ptr<detail::consumer_state> made) {
    co_return consumer(co_await on->consume(std::move(made)));
}

} // namespace

channel::channel(std::shared_ptr<detail::channel_state> from) noexcept : it_(std::move(from)) {}

channel& channel::operator=(channel&& other) noexcept {
    if (this != &other) {
        channel old(std::exchange(it_, std::exchange(other.it_, nullptr)));
    }
    return *this;
}

channel::~channel() {
    if (it_ != nullptr) {
        it_->abandon();
    }
}

task<queue_info> channel::declare_queue(const queue_options& options) {
    // The broker makes names, too, but another one on each connection.
    const std::string own =
        options.name.empty() ? it_->make_name("sapwood.") : std::string(options.name);
    detail::table_builder tables;
    const table arguments = arguments_of(options);
    amqp_queue_declare_t it{};
    it.queue = detail::bytes(name(own, "queue"));
    it.passive = options.passive ? 1 : 0;
    it.durable = options.durable ? 1 : 0;
    it.exclusive = options.exclusive ? 1 : 0;
    it.auto_delete = options.auto_delete ? 1 : 0;
    it.arguments = tables.build(arguments);
    return declare(it_, encoded(it_->number(), AMQP_QUEUE_DECLARE_METHOD, it), !options.passive,
                   fmt::format("declare queue '{}'", own));
}

task<> channel::declare_exchange(const exchange_options& options) {
    detail::table_builder tables;
    amqp_exchange_declare_t it{};
    it.exchange = detail::bytes(name(options.name, "exchange"));
    it.type = detail::bytes(to_text(options.kind));
    it.passive = options.passive ? 1 : 0;
    it.durable = options.durable ? 1 : 0;
    it.auto_delete = options.auto_delete ? 1 : 0;
    if (options.arguments != nullptr) {
        it.arguments = tables.build(*options.arguments);
    }
    return declare(it_, encoded(it_->number(), AMQP_EXCHANGE_DECLARE_METHOD, it),
                   AMQP_EXCHANGE_DECLARE_OK_METHOD, !options.passive,
                   fmt::format("declare exchange '{}'", options.name));
}

task<> channel::bind(const binding_options& options) {
    return declare(
        it_, encode_binding<amqp_queue_bind_t>(*it_, AMQP_QUEUE_BIND_METHOD, options),
        AMQP_QUEUE_BIND_OK_METHOD, true,
        fmt::format("bind queue '{}' to exchange '{}'", options.queue, options.exchange));
}

task<> channel::unbind(const binding_options& options) {
    return unbind_and_forget(
        it_, encode_binding<amqp_queue_unbind_t>(*it_, AMQP_QUEUE_UNBIND_METHOD, options),
        encode_binding<amqp_queue_bind_t>(*it_, AMQP_QUEUE_BIND_METHOD, options),
        fmt::format("unbind queue '{}' from exchange '{}'", options.queue, options.exchange));
}

task<std::uint32_t> channel::delete_queue(std::string_view queue) {
    amqp_queue_delete_t it{};
    it.queue = detail::bytes(name(queue, "queue"));
    it_->forget_queue(queue);
    return count(it_, encoded(it_->number(), AMQP_QUEUE_DELETE_METHOD, it),
                 AMQP_QUEUE_DELETE_OK_METHOD, fmt::format("delete queue '{}'", queue));
}

task<> channel::delete_exchange(std::string_view exchange) {
    amqp_exchange_delete_t it{};
    it.exchange = detail::bytes(name(exchange, "exchange"));
    it_->forget_exchange(exchange);
    return declare(it_, encoded(it_->number(), AMQP_EXCHANGE_DELETE_METHOD, it),
                   AMQP_EXCHANGE_DELETE_OK_METHOD, false,
                   fmt::format("delete exchange '{}'", exchange));
}

task<std::uint32_t> channel::purge_queue(std::string_view queue) {
    amqp_queue_purge_t it{};
    it.queue = detail::bytes(name(queue, "queue"));
    return count(it_, encoded(it_->number(), AMQP_QUEUE_PURGE_METHOD, it),
                 AMQP_QUEUE_PURGE_OK_METHOD, fmt::format("purge queue '{}'", queue));
}

task<> channel::publish(std::string_view exchange, std::string_view routing_key,
                        std::string_view body, const publish_options& options) {
    return it_->publish(it_->encode(exchange, routing_key, body, options));
}

publication channel::publish_nowait(std::string_view exchange, std::string_view routing_key,
                                    std::string_view body, const publish_options& options) {
    return it_->publish_nowait(it_->encode(exchange, routing_key, body, options));
}

task<> channel::room() {
    return it_->room();
}

task<> channel::confirmed(publication last) {
    return it_->confirmed(static_cast<std::uint64_t>(last));
}

std::vector<failed_publication> channel::take_failures() {
    return it_->window().take_failures();
}

std::size_t channel::unconfirmed() const noexcept {
    return it_->window().unsettled();
}

publication channel::settled() const noexcept {
    return static_cast<publication>(it_->window().settled());
}

task<consumer> channel::consume(std::string_view queue, const consume_options& options) {
    if (options.prefetch == 0) {
        throw std::invalid_argument("AMQP: consume_options: prefetch must be at least 1; without a "
                                    "bound a queue of any length would come into memory");
    }
    auto made = std::make_shared<detail::consumer_state>(options.prefetch);
    made->tag = options.tag.empty() ? it_->make_name("sapwood.") : std::string(options.tag);
    amqp_basic_qos_t qos{};
    qos.prefetch_count = options.prefetch;
    made->body_bytes_max = options.body_bytes_max;
    made->cuts_long_bodies = options.too_long == when_too_long::cut;
    made->frames = encoded(it_->number(), AMQP_BASIC_QOS_METHOD, qos);
    detail::table_builder tables;
    amqp_basic_consume_t it{};
    it.queue = detail::bytes(name(queue, "queue"));
    it.consumer_tag = detail::bytes(name(made->tag, "consumer tag"));
    it.exclusive = options.exclusive ? 1 : 0;
    if (options.arguments != nullptr) {
        it.arguments = tables.build(*options.arguments);
    }
    made->frames += encoded(it_->number(), AMQP_BASIC_CONSUME_METHOD, it);
    return begin(it_, std::move(made));
}

task<> channel::close() {
    return it_->close();
}

bool channel::is_closed() const noexcept {
    return it_->is_over();
}

} // namespace sapwood::amqp
