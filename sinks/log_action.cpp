#include <sapwood/log_action.hpp>

#include "failure_text.hpp"
#include "task_uuid.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/frame_pool.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/log_write.hpp>
#include <sapwood/trace_parent.hpp>

#include <algorithm>
#include <cstring>
#include <new>

namespace sapwood::detail {

namespace {

constexpr std::size_t action_name_bytes_max = 256;
constexpr std::size_t trace_bytes = 32;
/// What is copied in one piece, and so may be read behind the tail.
constexpr std::size_t tail_slack_bytes = 16;

std::uint64_t resumptions_here() noexcept {
    return running_loop != nullptr ? running_loop->resumptions() : 0;
}

/// A thread that ends has nobody left to catch what it is parked for.
class thread_activity_end {
  public:
    ~thread_activity_end() {
        if (thread_activity != nullptr) {
            thread_activity->let_go(thread_activity);
        }
    }

    void touch() const noexcept {}
};

void let_go_when_thread_ends() noexcept {
    thread_local const thread_activity_end end;
    end.touch();
}

} // namespace

// --- its beginning ---

log_action::log_action(const beginning& how, log_action* parent, std::uint32_t bytes) noexcept
    : source_{how.core.backend, how.core.id, how.core.shown.load(std::memory_order_relaxed)},
      backend_id_(how.core.backend->id()),
      parent_(parent),
      began_(how.core.backend->ticks()),
      file_(how.where.file_name()),
      line_(how.where.line()),
      bytes_(bytes),
      importance_(how.importance),
      exceptions_before_(static_cast<std::int16_t>(std::uncaught_exceptions())),
      name_is_plain_(is_plain(how.name)) {}

log_action::~log_action() {
    if (parent_ != nullptr) {
        parent_->release();
    }
}

void log_action::destroy() noexcept {
    const std::size_t bytes = bytes_;
    this->~log_action();
    free_frame(this, bytes);
}

log_action& log_action::make(const beginning& how, log_action* parent) {
    const bool is_child = how.uuid.empty() && !how.is_task;
    log_action* const above = is_child ? current(*how.core.backend) : nullptr;
    char level[log_place::level_bytes_max + 16];
    std::size_t level_bytes = 0;
    if (above != nullptr) {
        const std::string_view prefix = above->level_prefix();
        char* const end =
            put_decimal(level + prefix.copy(level, prefix.size()), above->take_number());
        *end = ',';
        level_bytes = static_cast<std::size_t>(end + 1 - level);
    } else if (!how.numbers.empty()) {
        level_bytes = how.numbers.copy(level, log_place::level_bytes_max);
        level[level_bytes++] = ',';
    }
    const std::string_view name = cut_at_character(how.name, action_name_bytes_max);
    const auto bytes = static_cast<std::uint32_t>(sizeof(log_action) + level_bytes + name.size() +
                                                  how.trace.size() + tail_slack_bytes);
    auto& made = *::new (allocate_frame(bytes)) log_action(how, parent, bytes);
    made.level_bytes_ = static_cast<std::uint8_t>(level_bytes);
    made.name_bytes_ = static_cast<std::uint16_t>(name.size());
    char* to = made.tail();
    std::memcpy(to, level, level_bytes);
    to += level_bytes;
    to += name.copy(to, name.size());
    made.has_trace_ = how.trace.copy(to, trace_bytes) == trace_bytes;
    if (above != nullptr) {
        std::memcpy(made.uuid_, above->uuid_, sizeof(made.uuid_));
    } else if (how.uuid.size() == sizeof(made.uuid_)) {
        std::memcpy(made.uuid_, how.uuid.data(), sizeof(made.uuid_));
    } else {
        put_new_uuid(made.uuid_);
    }
    return made;
}

log_action& log_action::begin(const beginning& how, std::string_view fields) {
    log_action* const above = current(*how.core.backend); // what is parked has ended now
    activity*& place = current_activity_place();
    auto* const parent = static_cast<log_action*>(place);
    std::string with_link;
    log_action* made = nullptr;
    if (how.uuid.empty() && !how.is_task && above != nullptr &&
        above->level_prefix().size() + 11 > log_place::level_bytes_max) [[unlikely]] {
        // Deeper than a record can tell: a task of its own, which says where it belongs.
        const std::string link = above->task_id();
        append_field(with_link, field_text(kv("continues", link)));
        with_link += fields;
        fields = with_link;
        beginning anew = how;
        anew.is_task = true;
        made = &make(anew, parent);
    } else {
        made = &make(how, parent);
    }
    made->share();
    place = made; // with the place's share of its parent, which is now its own
    made->write_start(fields);
    return *made;
}

log_action* log_action::current(const log_backend& backend) noexcept {
    activity*& place = current_activity_place();
    auto* each = static_cast<log_action*>(place);
    if (each != nullptr && each->parked_in_.load(std::memory_order_relaxed) == &place)
        [[unlikely]] {
        settle(place, std::current_exception());
        each = static_cast<log_action*>(place);
    }
    for (; each != nullptr; each = each->parent_) {
        if (each->backend_id_ == backend.id() && !each->is_left_.load(std::memory_order_relaxed)) {
            return each;
        }
    }
    return nullptr;
}

// --- its end ---

void log_action::add_success(std::string_view fields) {
    if (more_success_ == nullptr && success_bytes_ + fields.size() <= success_bytes_max) {
        success_bytes_ = static_cast<std::uint16_t>(
            success_bytes_ + fields.copy(success_ + success_bytes_, fields.size()));
        return;
    }
    if (more_success_ == nullptr) {
        more_success_ = std::make_unique<std::string>(success_, success_bytes_);
    }
    *more_success_ += fields;
}

log_action* log_action::outer() const noexcept {
    log_action* each = parent_;
    while (each != nullptr && each->is_left_.load(std::memory_order_relaxed)) {
        each = each->parent_;
    }
    return each;
}

/// What is in `place` is this: now it is what this was begun in.
void log_action::pop(activity*& place) noexcept {
    log_action* const next = outer();
    if (next != nullptr) {
        next->share();
    }
    place = next;
    release();
}

void log_action::end(const action_failure* failure) noexcept {
    if (std::exchange(has_ended_, true)) {
        return;
    }
    activity*& place = current_activity_place();
    if (place != this) {
        settle(place, std::current_exception());
    }
    write_end(failure);
    if (place == this) {
        pop(place);
    } else {
        is_left_.store(true, std::memory_order_relaxed);
    }
}

void log_action::end_by_exception() noexcept {
    if (has_ended_) {
        return;
    }
    activity*& place = current_activity_place();
    const auto* at = static_cast<const log_action*>(place);
    while (at != nullptr && at != this &&
           at->parked_in_.load(std::memory_order_relaxed) == &place) {
        at = at->parent_;
    }
    if (at != this) { // of another task, or not the innermost
        const action_failure unknown = failure_text().failure();
        end(&unknown);
        return;
    }
    ended_ = source_.backend->ticks();
    parked_at_ = resumptions_here();
    keeper_ = source_.backend->keep();
    parked_in_.store(&place, std::memory_order_relaxed);
    if (&place == &thread_activity) {
        let_go_when_thread_ends();
    }
}

/// Ends what is parked in `place`. An exception that is known now is theirs, unless their task has
/// waited meanwhile: then somebody has caught theirs, and said nothing.
void log_action::settle(activity*& place, const std::exception_ptr& error) noexcept {
    while (auto* const top = static_cast<log_action*>(place)) {
        if (top->parked_in_.load(std::memory_order_relaxed) != &place) {
            return;
        }
        const std::shared_ptr<void> keeper = std::move(top->keeper_);
        const failure_text text(top->parked_at_ == resumptions_here() ? error : nullptr);
        const action_failure failure = text.failure();
        top->has_ended_ = true;
        top->parked_in_.store(nullptr, std::memory_order_relaxed);
        top->write_end(&failure);
        top->pop(place);
    }
}

void log_action::leave() noexcept {
    activity*& place = current_activity_place();
    is_left_.store(true, std::memory_order_relaxed);
    if (place == this) {
        pop(place);
    }
}

// --- activity ---

activity* log_action::hand_down(const void* place) noexcept {
    log_action* each = this;
    while (each != nullptr && (each->parked_in_.load(std::memory_order_relaxed) == place ||
                               each->is_left_.load(std::memory_order_relaxed))) {
        each = each->parent_;
    }
    if (each != nullptr) {
        each->share();
    }
    return each;
}

void log_action::failed(activity*& place, const std::exception_ptr& error) noexcept {
    settle(place, error);
}

void log_action::let_go(activity*& place) noexcept {
    settle(place, nullptr);
    if (activity* const rest = std::exchange(place, nullptr)) {
        rest->release();
    }
}

// --- what it is called ---

std::string log_action::task_id() const {
    std::string id(uuid());
    id += "@/";
    for (const char c : level_prefix()) {
        id += c == ',' ? '/' : c;
    }
    if (id.back() == '/' && level_bytes_ > 0) {
        id.pop_back();
    }
    return id;
}

std::string log_action::take_child_id() const {
    std::string id = task_id();
    if (level_bytes_ > 0) {
        id += '/';
    }
    return id += std::to_string(take_number());
}

std::string log_action::traceparent() const {
    // FNV-1a, 64 bits, of the task's id: whoever reads the log can do the same.
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
    for (const char c : task_id()) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x0000'0100'0000'01b3;
    }
    hash += hash == 0 ? 1 : 0; // which no span may be
    trace_parent made;
    trace().copy(made.trace.data(), made.trace.size());
    for (std::size_t i = 0; i < made.span.size() / 2; ++i) {
        put_hex_byte(made.span.data() + 2 * i, static_cast<unsigned>(hash >> (56 - 8 * i)));
    }
    return made.text();
}

std::string log_action::trace() const {
    for (const log_action* each = this; each != nullptr; each = each->parent_) {
        if (each->has_trace_) {
            return {each->tail() + each->level_bytes_ + each->name_bytes_, trace_bytes};
        }
        if (each->parent_ == nullptr || each->parent_->uuid() != uuid()) {
            break;
        }
    }
    std::string digits;
    for (const char c : uuid()) {
        if (c != '-') {
            digits += c;
        }
    }
    return digits;
}

} // namespace sapwood::detail
