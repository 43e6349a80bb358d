// What a channel_state does for what is declared on it: it is declared again on each link, until
// somebody deletes it.
#include "channel_state.hpp"
#include "connection_state.hpp"

#include <algorithm>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

/// The names that a method which declares begins with: behind the frame's head, the method's number
/// and a reserved word, each with its size. Of a binding the queue's and the exchange's.
[[nodiscard]] std::string_view name_in(std::string_view frames, int which) {
    constexpr std::size_t names_at = frame_head_bytes + sizeof(amqp_method_number_t) + 2;
    frames.remove_prefix(std::min(names_at, frames.size()));
    for (; !frames.empty(); --which) {
        const std::size_t size = static_cast<unsigned char>(frames.front());
        if (which == 0) {
            return frames.substr(1, size);
        }
        frames.remove_prefix(std::min(1 + size, frames.size()));
    }
    return {};
}

} // namespace

task<answer> channel_state::declare(std::string frames, amqp_method_number_t expected,
                                    std::string what) {
    const auto self = shared_from_this();
    answer said = co_await call(frames, expected, std::move(what));
    if (std::ranges::find(declared_, frames, &declared::frames) == declared_.end()) {
        declared_.push_back({std::move(frames), expected, mq_->next_place()});
    }
    co_return said;
}

void channel_state::forget_binding(const std::string& frames) {
    constexpr std::size_t number_end = 3; // of the channel, which may be another one's
    forget_everywhere([&](const declared& each) {
        return each.expected == AMQP_QUEUE_BIND_OK_METHOD &&
               std::string_view(each.frames).substr(number_end) ==
                   std::string_view(frames).substr(number_end);
    });
}

void channel_state::forget_queue(std::string_view name) {
    forget_everywhere([&](const declared& each) {
        return (each.expected == AMQP_QUEUE_DECLARE_OK_METHOD ||
                each.expected == AMQP_QUEUE_BIND_OK_METHOD) &&
               name_in(each.frames, 0) == name;
    });
}

void channel_state::forget_exchange(std::string_view name) {
    forget_everywhere([&](const declared& each) {
        return (each.expected == AMQP_EXCHANGE_DECLARE_OK_METHOD &&
                name_in(each.frames, 0) == name) ||
               (each.expected == AMQP_QUEUE_BIND_OK_METHOD && name_in(each.frames, 1) == name);
    });
}

void channel_state::forget_everywhere(const std::function<bool(const declared&)>& is_it) {
    if (mq_ != nullptr) {
        mq_->for_each_channel([&](channel_state& each) { std::erase_if(each.declared_, is_it); });
    }
}

const channel_state::declared* channel_state::declared_behind(std::uint64_t place) const noexcept {
    const auto found = std::ranges::upper_bound(declared_, place, {}, &declared::place);
    return found == declared_.end() ? nullptr : &*found;
}

task<> channel_state::declare_again(std::string frames, amqp_method_number_t expected) {
    const auto self = shared_from_this();
    co_await ask_or_throw(frames, expected);
}

} // namespace sapwood::amqp::detail
