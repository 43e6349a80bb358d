// How an action begins: its memory, its place in the tree, the thread's that it is in.
#include <sapwood/log_action.hpp>

#include "exceptions_under_way.hpp"
#include "task_uuid.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/escape.hpp>
#include <sapwood/frame_pool.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/log_text.hpp>
#include <sapwood/log_write.hpp>

#include <cstring>
#include <new>
#include <string>

namespace sapwood::detail {

namespace {

constexpr std::size_t action_name_bytes_max = 256;

/// A thread that ends has nobody left to catch what it is parked for, or to end what it is in.
class thread_activity_end {
  public:
    ~thread_activity_end() {
        if (thread_activity != nullptr) {
            thread_activity->let_go(thread_activity);
        }
    }

    void touch() const noexcept {}
};

[[gnu::tls_model("initial-exec")]] constinit thread_local bool is_let_go_at_end = false;

[[gnu::noinline]] void let_go_when_thread_ends() noexcept {
    thread_local const thread_activity_end end;
    end.touch();
    is_let_go_at_end = true;
}

} // namespace

[[gnu::always_inline]] inline log_action::log_action(const beginning& how, log_action* parent,
                                                     bool is_kept_only,
                                                     std::uint32_t bytes) noexcept
    : source_{how.core.backend, how.core.id},
      backend_id_(how.core.backend->id()),
      parent_(parent),
      began_(how.core.backend->ticks()),
      where_(how.where),
      bytes_(bytes),
      importance_(how.importance),
      exceptions_before_(static_cast<std::int16_t>(exceptions_under_way())),
      frame_flags_(static_cast<std::uint8_t>((is_plain(how.name) ? log_frame::plain : 0) |
                                             (is_kept_only ? log_frame::kept_only : 0))),
      is_sampled_(how.is_sampled),
      is_kept_only_(is_kept_only) {}

/// And those that it is in, if they are nobody else's: in a loop, for there may be many.
void log_action::destroy() noexcept {
    log_action* each = this;
    do {
        log_action* const parent = each->parent_;
        const std::size_t bytes = each->bytes_;
        each->~log_action();
        free_frame(each, bytes);
        each = parent;
    } while (each != nullptr && each->give_up());
}

/// As a child of `above`; null: a task of its own, or one that is continued.
log_action& log_action::make(const beginning& how, log_action* parent, log_action* above,
                             bool is_kept_only) {
    const std::string_view name = cut_at_character(how.name, action_name_bytes_max);
    const std::string_view trace = above != nullptr ? above->given_trace() : how.trace;
    const std::size_t level_bytes =
        above != nullptr ? above->level_prefix().size() + 11 : how.numbers.size() + 1;
    const auto bytes =
        static_cast<std::uint32_t>(sizeof(log_action) + log_place::uuid_bytes + level_bytes +
                                   name.size() + trace.size() + tail_slack_bytes);
    auto& made = *::new (allocate_frame(bytes)) log_action(how, parent, is_kept_only, bytes);
    // Nothing fails from here on, so that no number is taken for nothing.
    char* to = made.tail();
    if (above != nullptr) {
        to = put_decimal(above->put_identity(to), above->take_number());
        *to++ = ',';
        made.is_sampled_ = above->is_sampled_;
    } else {
        if (how.uuid.size() == log_place::uuid_bytes) [[unlikely]] {
            how.uuid.copy(to, log_place::uuid_bytes);
        } else {
            put_new_uuid(to);
        }
        to += log_place::uuid_bytes;
        if (!how.numbers.empty()) [[unlikely]] {
            to += how.numbers.copy(to, log_place::level_bytes_max - 1);
            *to++ = ',';
        }
    }
    made.level_bytes_ =
        static_cast<std::uint8_t>(to - made.tail() - std::ptrdiff_t{log_place::uuid_bytes});
    made.name_bytes_ = static_cast<std::uint16_t>(name.size());
    to = put_text(to, name);
    made.has_trace_ = !trace.empty() && trace.copy(to, trace_bytes) == trace_bytes;
    return made;
}

/// A task of its own, but in the trace of another one.
log_action& log_action::make_in_trace_of(const log_action& other, const beginning& how,
                                         log_action* parent, bool is_kept_only) {
    const std::string trace = other.trace();
    beginning anew = how;
    anew.trace = trace;
    anew.is_sampled = other.is_sampled_;
    return make(anew, parent, nullptr, is_kept_only);
}

/// Where what it would be a child of has no numbers for it, or none that a record could tell: a
/// task of its own, which says where it belongs.
log_action& log_action::make_apart(const log_action& above, const beginning& how,
                                   log_action* parent, bool is_kept_only, std::string& fields) {
    const std::string link = above.task_id();
    std::string with_link;
    append_field(with_link, field_text(kv("continues", link)));
    fields.insert(0, with_link);
    return make_in_trace_of(above, how, parent, is_kept_only);
}

log_action& log_action::begin(const beginning& how, std::string_view fields) {
    const bool is_kept_only = kept_only_flag(how.core, how.importance) != 0;
    // What is parked has ended when it is known.
    log_action* const above =
        current(*how.core.backend, is_kept_only ? log_seen::all : log_seen::shown);
    activity*& place = current_activity_place();
    if (auto* const top = static_cast<log_action*>(place); top != nullptr && top->left_.has(&place))
        [[unlikely]] {
        top->pop(place); // or they would pile up
    }
    auto* const parent = static_cast<log_action*>(place);
    if (!how.uuid.empty() || how.is_task) {
        return make(how, parent, nullptr, is_kept_only).put_in(place, fields);
    }
    if (above != nullptr && (is_kept_only || above->is_deepest())) [[unlikely]] {
        std::string with_link(fields);
        log_action& made = make_apart(*above, how, parent, is_kept_only, with_link);
        return made.put_in(place, with_link);
    }
    if (above == nullptr && parent != nullptr) [[unlikely]] {
        if (const log_action* const hidden = current(*how.core.backend, log_seen::all)) {
            // What it is in is kept only.
            return make_in_trace_of(*hidden, how, parent, is_kept_only).put_in(place, fields);
        }
    }
    return make(how, parent, above, is_kept_only).put_in(place, fields);
}

/// Nobody else knows it yet.
log_action& log_action::put_in(activity*& place, std::string_view fields) noexcept {
    if (&place == &thread_activity && !is_let_go_at_end) [[unlikely]] {
        let_go_when_thread_ends();
    }
    share_unseen();
    home_.store(&place, std::memory_order_relaxed);
    is_first_of_task_ =
        parent_ != nullptr && parent_->home_.load(std::memory_order_relaxed) != &place;
    place = this; // with the place's share of its parent, which is now its own
    write_start(fields);
    return *this;
}

} // namespace sapwood::detail
