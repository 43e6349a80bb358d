#include "fake_broker.hpp"

#include "fake_session.hpp"

#include <algorithm>
#include <utility>

namespace sapwood::test {

void fake_broker::session::take_method(std::uint16_t number, talk& on,
                                       const amqp::detail::method& said) {
    switch (said.id) {
    case AMQP_CHANNEL_OPEN_METHOD:
        on = talk();
        say(number, AMQP_CHANNEL_OPEN_OK_METHOD, amqp_channel_open_ok_t{});
        return;
    case AMQP_CHANNEL_CLOSE_METHOD:
        say(number, AMQP_CHANNEL_CLOSE_OK_METHOD, amqp_channel_close_ok_t{});
        return;
    case AMQP_CONFIRM_SELECT_METHOD:
        on.confirms = true;
        say(number, AMQP_CONFIRM_SELECT_OK_METHOD, amqp_confirm_select_ok_t{});
        return;
    case AMQP_QUEUE_DECLARE_METHOD: {
        if (broker_.does.locks_declares > 0) {
            --broker_.does.locks_declares;
            const amqp_channel_close_t close{405, amqp_cstring_bytes("RESOURCE_LOCKED"), 50, 10};
            say(number, AMQP_CHANNEL_CLOSE_METHOD, close);
            return;
        }
        const auto& declare = said.as<amqp_queue_declare_t>();
        const auto& made = broker_.queues[std::string(amqp::detail::view(declare.queue))];
        const amqp_queue_declare_ok_t ok{declare.queue,
                                         static_cast<std::uint32_t>(made.ready.size()), 0};
        say(number, AMQP_QUEUE_DECLARE_OK_METHOD, ok);
        return;
    }
    case AMQP_QUEUE_DELETE_METHOD:
        say(number, AMQP_QUEUE_DELETE_OK_METHOD, amqp_queue_delete_ok_t{});
        return;
    case AMQP_EXCHANGE_DECLARE_METHOD:
        say(number, AMQP_EXCHANGE_DECLARE_OK_METHOD, amqp_exchange_declare_ok_t{});
        return;
    case AMQP_EXCHANGE_DELETE_METHOD:
        say(number, AMQP_EXCHANGE_DELETE_OK_METHOD, amqp_exchange_delete_ok_t{});
        return;
    case AMQP_QUEUE_UNBIND_METHOD:
        say(number, AMQP_QUEUE_UNBIND_OK_METHOD, amqp_queue_unbind_ok_t{});
        return;
    case AMQP_QUEUE_BIND_METHOD:
        say(number, AMQP_QUEUE_BIND_OK_METHOD, amqp_queue_bind_ok_t{});
        return;
    case AMQP_BASIC_QOS_METHOD:
        on.prefetch = said.as<amqp_basic_qos_t>().prefetch_count;
        say(number, AMQP_BASIC_QOS_OK_METHOD, amqp_basic_qos_ok_t{});
        return;
    case AMQP_BASIC_CONSUME_METHOD: {
        if (broker_.does.locks_consumes > 0) {
            --broker_.does.locks_consumes;
            const amqp_channel_close_t close{403, amqp_cstring_bytes("ACCESS_REFUSED"), 60, 20};
            say(number, AMQP_CHANNEL_CLOSE_METHOD, close);
            return;
        }
        const auto& consume = said.as<amqp_basic_consume_t>();
        on.consumers[std::string(amqp::detail::view(consume.consumer_tag))] = {
            std::string(amqp::detail::view(consume.queue)), on.prefetch, 0};
        say(number, AMQP_BASIC_CONSUME_OK_METHOD, amqp_basic_consume_ok_t{consume.consumer_tag});
        return;
    }
    case AMQP_BASIC_CANCEL_METHOD: {
        const auto& cancel = said.as<amqp_basic_cancel_t>();
        on.consumers.erase(std::string(amqp::detail::view(cancel.consumer_tag)));
        if (cancel.nowait == 0) {
            say(number, AMQP_BASIC_CANCEL_OK_METHOD, amqp_basic_cancel_ok_t{cancel.consumer_tag});
        }
        return;
    }
    case AMQP_BASIC_PUBLISH_METHOD: {
        const auto& publish = said.as<amqp_basic_publish_t>();
        on.coming = {};
        on.coming.exchange = amqp::detail::view(publish.exchange);
        on.coming.routing_key = amqp::detail::view(publish.routing_key);
        on.is_mandatory = publish.mandatory != 0;
        return;
    }
    case AMQP_BASIC_ACK_METHOD:
        settle(number, on, said.as<amqp_basic_ack_t>());
        return;
    case AMQP_BASIC_REJECT_METHOD:
        settle(number, on, said.as<amqp_basic_reject_t>());
        return;
    default:
        return;
    }
}

void fake_broker::session::settle(std::uint16_t number, talk& on, const amqp_basic_ack_t& ack) {
    if (!knows_tag(number, on, ack.delivery_tag)) {
        return;
    }
    for (auto at = on.unsettled.begin(); at != on.unsettled.end();) {
        const bool is_meant =
            at->first == ack.delivery_tag || (ack.multiple != 0 && at->first < ack.delivery_tag);
        at = is_meant ? settle(on, at, &queue::done) : std::next(at);
    }
}

void fake_broker::session::settle(std::uint16_t number, talk& on,
                                  const amqp_basic_reject_t& reject) {
    if (!knows_tag(number, on, reject.delivery_tag)) {
        return;
    }
    const auto at = on.unsettled.find(reject.delivery_tag);
    if (reject.requeue != 0) {
        --on.consumers[at->second.consumer].unsettled;
        broker_.queues[at->second.queue].ready.push_back(std::move(at->second.what));
        on.unsettled.erase(at);
    } else {
        settle(on, at, &queue::dead);
    }
}

fake_broker::fake_broker() : listener_(endpoint("127.0.0.1", 0)) {
    accepting_ = spawn(accept());
}

amqp::connection_options fake_broker::options() const {
    amqp::connection_options made;
    made.to.hosts = {{"127.0.0.1", std::to_string(listener_.local_endpoint().port())}};
    // Time jumps where nothing else can happen, and then it is long since anybody said a word.
    made.heartbeat = std::chrono::seconds(0);
    made.connect_within = std::chrono::hours(1);
    return made;
}

std::size_t fake_broker::count(amqp_method_number_t method) const {
    return static_cast<std::size_t>(std::ranges::count(methods, method));
}

task<> fake_broker::accept() {
    while (true) {
        tcp_stream next = co_await listener_.accept();
        ++connections_;
        if (does.on_connection) {
            does.on_connection(connections_);
        }
        serving_.push_back(spawn(serve(std::move(next))));
    }
}

task<> fake_broker::serve(tcp_stream with) {
    std::unique_ptr<stream> plain = std::make_unique<tcp_stream>(std::move(with));
    if (does.secured == nullptr) {
        session one(*this, std::make_unique<peer_stream>(std::move(plain)));
        co_await one.run();
        co_return;
    }
    auto secured = std::make_unique<tls_stream>(std::move(plain), does.secured, tls_use::two_way);
    bool is_shaken = false;
    try {
        co_await secured->handshake();
        is_shaken = true;
    } catch (const std::system_error&) { // one of us does not believe the other
    }
    if (!is_shaken) {
        co_await secured->close();
        co_return;
    }
    session one(*this, std::make_unique<peer_stream>(std::move(secured)));
    co_await one.run();
}

void fake_broker::dispatch_all() {
    for (session* const each : sessions_) {
        each->dispatch();
    }
}

void fake_broker::confirm_held(bool together) {
    for (session* const each : sessions_) {
        each->confirm_held(together, false);
    }
}

void fake_broker::refuse_held() {
    for (session* const each : sessions_) {
        each->confirm_held(true, true);
    }
}

void fake_broker::forget_deliveries() {
    for (session* const each : sessions_) {
        each->forget_deliveries();
    }
}

void fake_broker::say(std::string_view bytes) {
    for (session* const each : sessions_) {
        each->say(bytes);
    }
}

void fake_broker::say(std::uint16_t channel, amqp_method_number_t id, const void* method) {
    for (session* const each : sessions_) {
        each->say_any(channel, id, method);
    }
}

void fake_broker::hang_up() {
    for (session* const each : sessions_) {
        each->hang_up();
    }
}

task<> fake_broker::end() {
    accepting_.cancel();
    try {
        co_await accepting_;
    } catch (const cancelled&) { // as it was told
    }
    co_await listener_.close();
    hang_up();
    for (auto& each : serving_) {
        co_await each;
    }
}

void put_message(fake_broker& broker, const std::string& queue, const std::string& body,
                 const std::string& id, const amqp::publish_options& options) {
    std::string out;
    amqp::detail::put_publication(out, {1, "", queue, body, id}, options, 128u << 10);
    amqp::detail::frame_splitter splitter(1u << 20);
    std::string_view rest = out;
    amqp::detail::frame one;
    (void)splitter.next(rest, one);
    (void)splitter.next(rest, one);
    fake_broker::message made;
    made.header = one.payload;
    made.body = body;
    made.id = id;
    made.routing_key = queue;
    broker.queues[queue].ready.push_back(std::move(made));
}

} // namespace sapwood::test
