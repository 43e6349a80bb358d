#include "publish_window.hpp"

#include "codec.hpp"

#include <sapwood/amqp/errors.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <new>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

/// As often as it has to grow, if things are added one by one: so seldom.
template <class Container>
void make_room(Container& in, std::size_t size) {
    if (in.capacity() < size) {
        in.reserve(std::max(size, in.capacity() * 2));
    }
}

} // namespace

void publish_window::add(outgoing_ptr it) {
    make_room(unsent_, unsettled_ + 1);
    make_room(refused_, unsettled_ + 1);
    make_room(untold_, 1);
    it->number = first_open_ + is_settled_.size();
    is_settled_.push_back(false);
    ++unsettled_;
    bytes_ += it->frames.size();
    unsent_.push_back(std::move(it)); // has room
}

void publish_window::take_back() noexcept {
    bytes_ -= unsent_.back()->frames.size();
    --unsettled_;
    is_settled_.pop_back();
    unsent_.pop_back();
}

void publish_window::send(std::string& out) {
    std::size_t bytes = out.size();
    for (const outgoing_ptr& each : unsent_) {
        bytes += each->frames.size();
    }
    make_room(out, bytes);
    sent_.insert(sent_.end(), std::make_move_iterator(unsent_.begin()),
                 std::make_move_iterator(unsent_.end())); // all or, without memory, none
    for (auto i = sent_.size() - unsent_.size(); i < sent_.size(); ++i) {
        out += sent_[i]->frames;
    }
    unsent_.clear();
}

bool publish_window::confirm(std::uint64_t tag, bool multiple, bool is_refused) noexcept {
    if (multiple && tag == 0) { // all that there are
        tag = first_tag_ + sent_.size() - 1;
    }
    if (tag >= first_tag_ + sent_.size() || tag == 0) {
        return false;
    }
    if (tag < first_tag_) {
        return true; // nothing of it is left
    }
    const std::uint64_t last = tag - first_tag_;
    for (std::uint64_t i = multiple ? 0 : last; i <= last; ++i) {
        outgoing_ptr it = std::exchange(sent_[i], nullptr);
        if (it == nullptr) {
            continue;
        }
        if (is_refused && !it->why) {
            refused_.push_back(std::move(it));
        } else {
            settle(it);
        }
    }
    while (!sent_.empty() && sent_.front() == nullptr) {
        sent_.pop_front();
        ++first_tag_;
    }
    drop_settled_front();
    return true;
}

void publish_window::returned(const returned_message& which, std::error_code why,
                              std::string text) {
    const auto found = std::ranges::find_if(sent_, [&](const outgoing_ptr& each) {
        return each != nullptr && !each->why && each->message_id == which.message_id &&
               may_come_back(each->frames, which.exchange, which.routing_key);
    });
    if (found != sent_.end()) {
        (*found)->why = why;
        (*found)->text = std::move(text);
    }
}

void publish_window::retry() noexcept {
    unsent_.insert(unsent_.end(), std::make_move_iterator(refused_.begin()),
                   std::make_move_iterator(refused_.end()));
    refused_.clear();
}

void publish_window::forget_sent() noexcept {
    for (outgoing_ptr& each : sent_) {
        if (each != nullptr) {
            each->why = {}; // what was returned may find a queue now
            unsent_.push_back(std::move(each));
        }
    }
    sent_.clear();
    first_tag_ = 1;
    retry();
    std::ranges::sort(unsent_, {}, [](const outgoing_ptr& each) { return each->number; });
}

void publish_window::fail_all(std::error_code why, std::string_view text) noexcept {
    forget_sent();
    for (const outgoing_ptr& each : unsent_) {
        each->why = why;
        try {
            each->text = text;
        } catch (const std::bad_alloc&) { // it is told all the same, without the text
        }
        settle(each);
    }
    unsent_.clear();
    drop_settled_front();
}

void publish_window::settle(const outgoing_ptr& it) noexcept {
    it->is_settled = true;
    is_settled_[it->number - first_open_] = true;
    --unsettled_;
    bytes_ -= it->frames.size();
    it->over.set();
    if (!it->why || it->is_awaited) {
        return;
    }
    note_untold(*it);
    if (failures_.size() < failures_max) {
        try {
            make_room(failures_, failures_.size() + 1);
        } catch (const std::bad_alloc&) { // it is counted only
            return;
        }
        failures_.push_back(
            {static_cast<publication>(it->number), std::move(it->message_id), it->why});
    }
}

void publish_window::drop_settled_front() noexcept {
    while (!is_settled_.empty() && is_settled_.front()) {
        is_settled_.pop_front();
        ++first_open_;
    }
    progress_.set();
    progress_.reset();
}

std::vector<failed_publication> publish_window::take_failures() noexcept {
    for (const untold& each : untold_) {
        for (confirmation* const waiting : confirming_) {
            if (each.first > waiting->last()) {
                continue;
            }
            try {
                tell(each, *waiting);
            } catch (const std::bad_alloc&) { // it is told all the same, without the text
            }
        }
    }
    untold_.clear();
    return std::exchange(failures_, {});
}

/// For the first one there is room.
bool publish_window::has_room_for_untold() noexcept {
    try {
        make_room(untold_, untold_.size() + 1);
        return untold_.size() < failures_max;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void publish_window::note_untold(outgoing& failed) noexcept {
    if (has_room_for_untold()) {
        untold_.push_back({failed.number, failed.number, 1, failed.why, std::move(failed.text)});
        return;
    }
    untold& all = untold_.back();
    all.first = std::min(all.first, failed.number);
    all.last = std::max(all.last, failed.number);
    ++all.count;
}

void publish_window::tell(confirmation& who) {
    const auto concerns = [](const untold& what, const confirmation& whom) {
        return what.first <= whom.last();
    };
    for (const untold& each : untold_) {
        if (!concerns(each, who)) {
            continue;
        }
        const bool is_told = each.last <= who.last();
        for (confirmation* const other : confirming_) {
            if (other == &who || (is_told && concerns(each, *other))) {
                tell(each, *other);
            }
        }
    }
    std::erase_if(untold_, [&](const untold& each) { return each.last <= who.last(); });
}

void publish_window::tell(const untold& what, confirmation& whom) {
    const bool is_first = whom.failed_ == 0;
    whom.failed_ += what.count;
    if (is_first) {
        whom.why_ = what.why;
        whom.text_ = what.text;
    }
}

confirmation::confirmation(publish_window& of, std::uint64_t last) : window_(of), last_(last) {
    window_.confirming_.push_back(this);
}

confirmation::~confirmation() {
    std::erase(window_.confirming_, this);
}

void confirmation::require_none_failed() {
    window_.tell(*this);
    if (failed_ > 0) {
        throw std::system_error(why_,
                                fmt::format("{} {} not published; the first: {}", failed_,
                                            failed_ == 1 ? "message was" : "messages were", text_));
    }
}

} // namespace sapwood::amqp::detail
