#include <sapwood/dump_tasks.hpp>

#include "function_name.hpp"

#include <sapwood/fmt_library.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <memory>
#include <string_view>
#include <unistd.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace sapwood {

namespace {

/// Deeper nesting is not indented further: a chain of thousands would be mostly blanks.
constexpr std::size_t depth_shown_max = 24;

/// A task, and how deep it stands in the tree.
struct place_in_tree {
    const detail::root_context* task;
    std::size_t depth;
    /// What is to be said of it, because its place in the tree does not.
    std::string_view note;
};

class collector final : public detail::task_visitor {
  public:
    void visit(const detail::root_context& task) override { tasks.push_back(&task); }

    std::vector<const detail::root_context*> tasks;
};

std::string told_name(const detail::root_context& task) {
    const std::string_view name = detail::name_of(task);
    return name.empty() ? fmt::format("#{}", task.number())
                        : fmt::format("#{} \"{}\"", task.number(), name);
}

} // namespace

/// One dump.
class detail::task_dump {
  public:
    task_dump(const event_loop& loop, dump_options options, const std::source_location& where)
        : loop_(loop),
          options_(options),
          where_(where),
          now_(static_cast<std::uint32_t>(
              static_cast<std::uint64_t>(loop.now().time_since_epoch().count()) >>
              event_loop::coarse_time_shift)) {}

    std::string print() {
        find_ready();
        find_all();
        fmt::format_to(std::back_inserter(text_), "{} task{}, {} ready to run\n", alive_.size(),
                       alive_.size() == 1 ? "" : "s", ready_.size());
        std::size_t printed = 0;
        while (!to_print_.empty() && printed < options_.tasks_max) {
            const place_in_tree next = to_print_.back();
            to_print_.pop_back();
            print_task(next);
            ++printed;
        }
        if (printed < alive_.size()) {
            fmt::format_to(std::back_inserter(text_), "... and {} more\n", alive_.size() - printed);
        }
        return std::move(text_);
    }

  private:
    /// The coroutines that the loop will resume, and so where tasks are that wait for nothing.
    void find_ready() {
        for (const auto* queue : {&loop_.running_, &loop_.ready_}) {
            for (const auto* node = queue->front(); node != nullptr; node = node->next) {
                ready_.emplace(node->context, node->handle);
            }
        }
    }

    /// Who is alive; and the tree's roots, the one that was started last first.
    void find_all() {
        std::vector<place_in_tree> roots;
        for (const auto* task = loop_.tasks_; task != nullptr; task = task->next()) {
            alive_.insert(task);
            if (task->joiner() == nullptr) {
                roots.push_back({task, 0, {}});
            }
        }
        collector members;
        for (const auto* group = loop_.groups_; group != nullptr; group = group->next_) {
            const std::size_t first = members.tasks.size();
            group->visit_members(members);
            for (std::size_t i = first; i < members.tasks.size() && !group->is_joined(); ++i) {
                roots.push_back({members.tasks[i], 0, "in a task_group that nobody awaits yet"});
            }
        }
        alive_.insert(members.tasks.begin(), members.tasks.end());
        std::sort(roots.begin(), roots.end(), [](const auto& one, const auto& other) {
            return one.task->number() > other.task->number();
        });
        to_print_ = std::move(roots);
        find_branches();
    }

    /// Branches are in no list: they are below a task that is, or below another branch.
    void find_branches() {
        std::vector<const task_context*> to_look_at(alive_.begin(), alive_.end());
        while (!to_look_at.empty()) {
            const task_context* const task = to_look_at.back();
            to_look_at.pop_back();
            if (task->waiting == nullptr) {
                continue;
            }
            collector awaited;
            task->waiting->visit_awaited(awaited);
            for (const auto* each : awaited.tasks) {
                if (alive_.insert(each).second) {
                    to_look_at.push_back(each);
                }
            }
        }
    }

    void print_task(const place_in_tree& place) {
        const auto& task = *place.task;
        const std::string indent(2 * std::min(place.depth, depth_shown_max), ' ');
        fmt::format_to(std::back_inserter(text_), "{}{} {}: ", indent, told_name(task),
                       told_time(task.started_at()));
        const auto ready = ready_.find(&task);
        std::coroutine_handle<> innermost;
        if (&task == loop_.running_task_) {
            text_ += "running";
        } else if (task.waiting != nullptr) {
            innermost = task.waiting->handle;
            print_wait(task);
        } else if (ready != ready_.end()) {
            innermost = ready->second;
            const auto& promise = promise_base::of(innermost);
            const bool has_begun = promise.handle != nullptr || promise.awaits_where().line() != 0;
            text_ += has_begun ? "ready to run" : "about to start";
        } else {
            text_ += "in a wait that the loop does not know";
        }
        print_remarks(place);
        text_ += '\n';
        print_calls(innermost, indent);
        if (&task == loop_.running_task_) {
            print_call(where_, indent);
        }
        push_awaited(task, place.depth + 1);
    }

    void print_wait(const task_context& task) {
        const waiter& wait = *task.waiting;
        text_ += told_wait(wait.describe());
        const auto holder = alive_.find(wait.held_by());
        if (holder != alive_.end()) {
            fmt::format_to(std::back_inserter(text_), " held by {}",
                           told_name(static_cast<const root_context&>(**holder)));
        }
        fmt::format_to(std::back_inserter(text_), ", for {}", told_time(task.waiting_since));
    }

    /// Descriptions are made for errors: what cannot be done is what is waited for.
    static std::string told_wait(std::string description) {
        constexpr std::string_view refusal = "cannot ";
        if (description.starts_with(refusal)) {
            description.erase(0, refusal.size());
        }
        return description.substr(0, description.find("; "));
    }

    void print_remarks(const place_in_tree& place) {
        const auto& task = *place.task;
        if (task.cancel_requested) {
            text_ += ", asked to stop";
        }
        if (task.shields > 0) {
            text_ += ", shielded";
        }
        if (!place.note.empty()) {
            fmt::format_to(std::back_inserter(text_), ", {}", place.note);
        }
        if (place.depth == 0 && task.started_by() != 0) {
            fmt::format_to(std::back_inserter(text_), ", started by #{}", task.started_by());
        }
    }

    /// The co_awaits from the outermost to `innermost`; nothing where that is null.
    void print_calls(std::coroutine_handle<> innermost, const std::string& indent) {
        std::vector<std::source_location> calls;
        std::size_t more = 0;
        for (auto coroutine = innermost; coroutine != nullptr;) {
            const promise_base& promise = promise_base::of(coroutine);
            const auto where = promise.awaits_where();
            if (where.line() != 0 && calls.size() < options_.calls_max) {
                calls.push_back(where);
            } else {
                more += where.line() != 0 ? 1 : 0;
            }
            coroutine = promise.handle;
        }
        if (more > 0) {
            fmt::format_to(std::back_inserter(text_), "{}    ... {} more calls\n", indent, more);
        }
        std::for_each(calls.rbegin(), calls.rend(),
                      [&](const std::source_location& call) { print_call(call, indent); });
    }

    void print_call(const std::source_location& call, const std::string& indent) {
        fmt::format_to(std::back_inserter(text_), "{}    {} at {}:{}\n", indent,
                       function_name(call.function_name()), call.file_name(), call.line());
    }

    void push_awaited(const root_context& task, std::size_t depth) {
        if (task.waiting != nullptr) {
            collector awaited; // newest first: the oldest is then the next to be printed
            task.waiting->visit_awaited(awaited);
            for (const auto* each : awaited.tasks) {
                to_print_.push_back({each, depth, {}});
            }
        }
    }

    [[nodiscard]] std::string told_time(std::uint32_t since) const {
        using namespace std::chrono;
        const nanoseconds time(std::int64_t{now_ - since} << event_loop::coarse_time_shift);
        const auto tenths = (duration_cast<milliseconds>(time).count() + 50) / 100;
        return tenths < 36'000 ? fmt::format("{}.{} s", tenths / 10, tenths % 10)
                               : fmt::format("{}.{} h", tenths / 36'000, tenths / 3'600 % 10);
    }

    const event_loop& loop_;
    const dump_options options_;
    const std::source_location where_;
    const std::uint32_t now_;
    std::unordered_map<const task_context*, std::coroutine_handle<>> ready_;
    std::unordered_set<const task_context*> alive_;
    /// The next one last.
    std::vector<place_in_tree> to_print_;
    std::string text_;
};

std::string dump_tasks(dump_options options, const std::source_location& where) {
    return dump_tasks(event_loop::current(), options, where);
}

std::string dump_tasks(const event_loop& loop, dump_options options,
                       const std::source_location& where) {
    return detail::task_dump(loop, options, where).print();
}

void dump_tasks(int fd, dump_options options, const std::source_location& where) {
    const std::string text = dump_tasks(options, where);
    std::string_view left = text;
    while (!left.empty()) {
        const auto written = ::write(fd, left.data(), left.size());
        if (written < 0 && errno != EINTR) {
            return;
        }
        left.remove_prefix(static_cast<std::size_t>(std::max<::ssize_t>(written, 0)));
    }
}

namespace {

task<> dump_at_each(std::unique_ptr<signal_set> signals) {
    for (;;) {
        (void)co_await signals->next();
        dump_tasks(STDERR_FILENO);
    }
}

} // namespace

void dump_tasks_on(int signal) {
    spawn(dump_at_each(std::make_unique<signal_set>(std::initializer_list<int>{signal})),
          {.name = "dump_tasks_on"})
        .detach();
}

} // namespace sapwood
