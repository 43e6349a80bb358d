#include "action_task.hpp"

#include "seeded_hash.hpp"

#include <algorithm>

namespace sapwood::tools {

static_assert(log_buffer::slack_bytes >= line_padding);

action_task::action_task(std::string_view id) {
    begin_anew(id);
}

void action_task::begin_anew(std::string_view id) {
    id_ = id;
    text_.cut(0);
    records_.clear();
    nodes_.assign(1, node());
    slots_.clear();
    unfinished_ = 1;
    is_lone_ = false;
    has_failed_ = false;
    is_contradictory_ = false;
    first_ns_.reset();
    last_ns_.reset();
}

void action_task::add(const action_record& added) {
    using role = action_record::role;
    // Outside of actions a message is a task of its own.
    is_lone_ = records_.empty() && added.level.size() == 1 && added.level.front() == 1 &&
               added.is == role::message;
    index action = root;
    for (std::size_t i = 0; i < added.level.size(); ++i) {
        const index found = find(action, added.level[i]);
        const index place = found != none ? found : make(action, added.level[i]);
        if (i + 1 < added.level.size()) {
            action = place;
            continue;
        }
        const auto number = static_cast<index>(records_.size());
        records_.push_back({.offset = text_.size(),
                            .bytes = static_cast<std::uint32_t>(added.json.size()),
                            .is = added.is,
                            .next = none,
                            .time_ns = added.time_ns,
                            .duration_ns = added.duration_ns});
        text_.append(added.json);
        node& claimed = nodes_[place];
        is_contradictory_ = is_contradictory_ || claimed.first_record != none ||
                            claimed.is_action() ||
                            (added.children && *added.children + 2 != added.level.back());
        (claimed.first_record == none ? claimed.first_record : records_[claimed.last_record].next) =
            number;
        claimed.last_record = number;
        if (added.is == role::start && nodes_[action].start == none) {
            nodes_[action].start = number;
        } else if (added.is_end() && nodes_[action].end == none) {
            nodes_[action].end = number;
        }
    }
    recount(action);
    has_failed_ = has_failed_ || added.is == role::failure;
    if (added.time_ns) {
        first_ns_ = std::min(first_ns_.value_or(*added.time_ns), *added.time_ns);
        last_ns_ = std::max(last_ns_.value_or(*added.time_ns), *added.time_ns);
    }
}

action_task::index action_task::records_at(std::span<const std::uint32_t> level) {
    index place = root;
    for (const std::uint32_t number : level) {
        place = find(place, number);
        if (place == none) {
            return none;
        }
    }
    return nodes_[place].first_record;
}

action_task::index action_task::find(index parent, std::uint32_t number) {
    const node& action = nodes_[parent];
    if (number > action.highest) {
        return none;
    }
    if (action.last != none && nodes_[action.last].number == number) {
        return action.last;
    }
    if (slots_.empty()) {
        index_all();
    }
    for (std::size_t slot = slot_of(parent, number); slots_[slot] != none;
         slot = (slot + 1) & (slots_.size() - 1)) {
        const node& each = nodes_[slots_[slot]];
        if (each.parent == parent && each.number == number) {
            return slots_[slot];
        }
    }
    return none;
}

action_task::index action_task::make(index parent, std::uint32_t number) {
    const auto place = static_cast<index>(nodes_.size());
    nodes_.push_back({.parent = parent, .number = number});
    node& action = nodes_[parent];
    if (!action.is_action()) {
        is_contradictory_ = is_contradictory_ || action.first_record != none;
        action.first = place;
        unfinished_ += parent == root ? 0 : 1;
    } else {
        nodes_[action.last].next = place;
    }
    action.last = place;
    action.is_unordered = action.is_unordered || number < action.highest;
    action.highest = std::max(action.highest, number);
    ++action.taken;
    recount(parent);
    if (!slots_.empty()) {
        if (2 * nodes_.size() > slots_.size()) {
            index_all();
        } else {
            put_in_index(place);
        }
    }
    return place;
}

bool action_task::lacks_of_begun() const noexcept {
    const auto lacks = [](const node& each) { return each.start != none && !each.is_whole; };
    return std::any_of(nodes_.begin() + root + 1, nodes_.end(), lacks);
}

/// Numbers are different and none is 0, so as many as the highest is are all of them.
void action_task::recount(index place) noexcept {
    node& action = nodes_[place];
    const bool is_whole = action.end != none && action.taken == action.highest;
    if (is_whole != action.is_whole) {
        action.is_whole = is_whole;
        unfinished_ += is_whole ? static_cast<std::size_t>(-1) : 1;
    }
}

void action_task::index_all() {
    std::size_t size = 64;
    while (size < 4 * nodes_.size()) {
        size *= 2;
    }
    slots_.assign(size, none);
    for (index place = root + 1; place < nodes_.size(); ++place) {
        put_in_index(place);
    }
}

void action_task::put_in_index(index place) {
    std::size_t slot = slot_of(nodes_[place].parent, nodes_[place].number);
    while (slots_[slot] != none) {
        slot = (slot + 1) & (slots_.size() - 1);
    }
    slots_[slot] = place;
}

std::size_t action_task::slot_of(index parent, std::uint32_t number) const {
    const std::uint64_t key = std::uint64_t{parent} << 32 | number;
    return static_cast<std::size_t>(seeded_hash(key)) & (slots_.size() - 1);
}

void action_task::order() {
    std::vector<index> places;
    for (node& action : nodes_) {
        if (!action.is_unordered) {
            continue;
        }
        places.clear();
        for (index place = action.first; place != none; place = nodes_[place].next) {
            places.push_back(place);
        }
        std::ranges::sort(places, {}, [this](index place) { return nodes_[place].number; });
        for (std::size_t i = 0; i < places.size(); ++i) {
            nodes_[places[i]].next = i + 1 < places.size() ? places[i + 1] : none;
        }
        action.first = places.front();
        action.last = places.back();
        action.is_unordered = false;
    }
}

std::optional<std::int64_t> action_task::duration_of(const node& action) const noexcept {
    if (action.end == none) {
        return std::nullopt;
    }
    const record& end = records_[action.end];
    if (end.duration_ns || action.start == none || !end.time_ns) {
        return end.duration_ns;
    }
    const auto begin = records_[action.start].time_ns;
    return begin ? std::optional(*end.time_ns - *begin) : std::nullopt;
}

bool action_task::has_taken(std::int64_t at_least_ns) const noexcept {
    return std::ranges::any_of(nodes_, [&](const node& each) {
        const auto took = duration_of(each);
        return took && *took >= at_least_ns;
    });
}

std::size_t action_task::memory() const noexcept {
    return sizeof(*this) + id_.capacity() + initial_bytes + text_.size() * 3 / 2 +
           records_.capacity() * sizeof(record) + nodes_.capacity() * sizeof(node) +
           slots_.capacity() * sizeof(index);
}

} // namespace sapwood::tools
