// recent_ids: which messages were seen lately, by their ids. A broker delivers again what a
// connection had and did not acknowledge, as many as the prefetch at a time; who remembers more
// ids than that, and reads them anew from where it keeps the messages when it starts, keeps each
// message once. A value type for one thread.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_set>

namespace sapwood::amqp {

class recent_ids {
  public:
    /// The newest `count` are remembered, at least one.
    explicit recent_ids(std::size_t count) : count_(count) {}

    /// False: it was seen before. An empty one, of who gives none, is always new.
    [[nodiscard]] bool insert(std::string_view id) {
        if (id.empty()) {
            return true;
        }
        const auto [at, is_new] = ids_.emplace(id);
        if (is_new) {
            order_.push_back(&*at); // an element of a set stays where it is
            if (order_.size() > count_) {
                ids_.erase(*order_.front());
                order_.pop_front();
            }
        }
        return is_new;
    }

    [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }

  private:
    std::size_t count_;
    std::unordered_set<std::string> ids_;
    std::deque<const std::string*> order_;
};

} // namespace sapwood::amqp
