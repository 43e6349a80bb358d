#include <sapwood/amqp/connection.hpp>

#include "connection_state.hpp"

#include <utility>

namespace sapwood::amqp {

namespace {

task<connection> begin(std::shared_ptr<detail::connection_state> made) {
    co_await made->begin();
    co_return connection(std::move(made));
}

task<channel> open(std::shared_ptr<detail::connection_state> on) {
    co_return channel(co_await on->open_channel());
}

} // namespace

connection::connection(std::shared_ptr<detail::connection_state> from) noexcept
    : it_(std::move(from)) {}

connection& connection::operator=(connection&& other) noexcept {
    if (this != &other) {
        connection old(std::exchange(it_, std::exchange(other.it_, nullptr)));
    }
    return *this;
}

connection::~connection() {
    if (it_ != nullptr) {
        it_->abandon();
    }
}

task<channel> connection::open_channel() {
    return open(it_);
}

task<> connection::close() {
    return it_->close();
}

bool connection::is_up() const noexcept {
    return it_->is_up();
}

bool connection::is_blocked() const noexcept {
    return it_->is_blocked();
}

std::uint64_t connection::times_up() const noexcept {
    return it_->times_up();
}

task<connection> connect(std::string_view url) {
    connection_options options;
    options.to = parse_address(url);
    return connect(options);
}

task<connection> connect(const connection_options& options) {
    return begin(std::make_shared<detail::connection_state>(options));
}

} // namespace sapwood::amqp
