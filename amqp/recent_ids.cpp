#include <sapwood/amqp/recent_ids.hpp>

#include <algorithm>
#include <functional>
#include <limits>

namespace sapwood::amqp {

recent_ids::recent_ids(std::size_t count)
    : count_(std::clamp<std::size_t>(count, 1, std::numeric_limits<std::uint32_t>::max() / 4)),
      table_(16) {}

bool recent_ids::insert(std::string_view id) {
    if (id.empty()) {
        return true;
    }
    const auto hash = static_cast<std::uint32_t>(std::hash<std::string_view>()(id));
    if (has(id, hash)) {
        return false;
    }
    std::size_t at = ring_.size();
    if (at < count_) {
        if (2 * (at + 1) > table_.size()) {
            grow();
        }
        ring_.push_back({std::string(id), hash});
    } else {
        at = oldest_;
        take_out(static_cast<std::uint32_t>(at + 1));
        ring_[at].text = id;
        ring_[at].hash = hash;
        oldest_ = (at + 1) % count_;
    }
    put({hash, static_cast<std::uint32_t>(at + 1)});
    return true;
}

/// Their places in the ring stay, empty: there are many more.
void recent_ids::forget_newest(std::size_t count) noexcept {
    std::size_t at = oldest_;
    for (count = std::min(count, ring_.size()); count > 0; --count) {
        at = (at + ring_.size() - 1) % ring_.size();
        take_out(static_cast<std::uint32_t>(at + 1));
        ring_[at].text.clear();
    }
}

bool recent_ids::has(std::string_view id, std::uint32_t hash) const noexcept {
    for (std::size_t at = hash & (table_.size() - 1); table_[at].number != 0; at = next(at)) {
        if (table_[at].hash == hash && ring_[table_[at].number - 1].text == id) {
            return true;
        }
    }
    return false;
}

void recent_ids::put(place what) noexcept {
    std::size_t at = what.hash & (table_.size() - 1);
    while (table_[at].number != 0) {
        at = next(at);
    }
    table_[at] = what;
}

/// Those behind it move up, so that none stands behind a gap that its search would end at.
void recent_ids::take_out(std::uint32_t number) noexcept {
    const std::size_t mask = table_.size() - 1;
    std::size_t gap = ring_[number - 1].hash & mask;
    while (table_[gap].number != number) {
        if (table_[gap].number == 0) {
            return; // there was no memory for its text
        }
        gap = next(gap);
    }
    for (std::size_t at = next(gap); table_[at].number != 0; at = next(at)) {
        const std::size_t steps = (at - (table_[at].hash & mask)) & mask;
        if (steps >= ((at - gap) & mask)) {
            table_[gap] = table_[at];
            gap = at;
        }
    }
    table_[gap] = {};
}

void recent_ids::grow() {
    std::vector<place> before(table_.size() * 2);
    before.swap(table_);
    for (const place& each : before) {
        if (each.number != 0) {
            put(each);
        }
    }
}

} // namespace sapwood::amqp
