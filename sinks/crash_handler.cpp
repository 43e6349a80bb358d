#include "crash_handler.hpp"

#include "crash_text.hpp"

#include <sapwood/log_consumer.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <mutex>
#include <sys/syscall.h>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// So long a consumer may take to write what there is before the handler does it, as long as it
/// shows that it lives; and so long it may not show it. A slow disk is waited for; a sink that is
/// stuck counts as failing earlier.
constexpr std::int64_t answer_patience_ns = 10'000'000'000;
constexpr std::int64_t silence_patience_ns = 2'000'000'000;

/// A thread that crashes while another one's crash is dealt with waits for that, at most so long.
constexpr std::int64_t turn_patience_ns = 2 * answer_patience_ns;

constexpr int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr std::size_t signal_count = std::size(signals);

/// Who had them before. Written before the handler is there.
struct sigaction previous[signal_count];

/// Of those whose handler this has been, and may still be who comes after it passes a signal on to.
bool was_installed[signal_count];

/// A consumer that is watched, or nobody's. Places are never freed: a handler may walk along them.
struct place {
    std::atomic<log_consumer*> consumer{nullptr};
    std::atomic<place*> next{nullptr};
};

std::mutex places_mutex;
std::atomic<place*> places{nullptr};
/// Handlers that walk along them.
std::atomic<int> walking{0};
/// The thread that deals with a crash.
std::atomic<pid_t> first{0};

/// Whose consumers they are. A child that was made past fork(), as by clone(), has copies of them
/// that nobody runs, and what they hold is its parent's to write.
std::atomic<pid_t> process{0};

/// Handlers of this thread's that are inside each other.
[[gnu::tls_model("initial-exec")]] constinit thread_local int depth = 0;

/// Of the thread in `first`; static, because the consumer reads it even when it answers too late.
signal_note note{};

pid_t this_thread() noexcept {
    return static_cast<pid_t>(::syscall(SYS_gettid));
}

std::int64_t now_ns() noexcept {
    return static_cast<std::int64_t>(monotonic_ns());
}

template <class Visit>
void for_each_consumer(Visit&& visit) noexcept {
    for (place* at = places.load(std::memory_order_acquire); at != nullptr;
         at = at->next.load(std::memory_order_acquire)) {
        if (log_consumer* const each = at->consumer.load(std::memory_order_seq_cst)) {
            visit(*each);
        }
    }
}

/// All of them at once, so that the slowest one counts and not the sum.
void write_all() noexcept {
    for_each_consumer([](log_consumer& each) { each.begin_crash(note); });
    const std::int64_t begin = now_ns();
    for_each_consumer([&](log_consumer& each) {
        std::int64_t seen_at = begin;
        for (std::uint64_t seen = each.visits(); each.may_answer();) {
            const std::int64_t now = now_ns();
            if (const std::uint64_t visits = each.visits(); visits != seen) {
                seen = visits;
                seen_at = now;
            }
            if (now - begin > answer_patience_ns || now - seen_at > silence_patience_ns) {
                break;
            }
            pause_in_crash();
        }
        each.end_crash(note);
    });
}

void save_logs(int number, const siginfo_t& info) noexcept {
    const pid_t me = this_thread();
    walking.fetch_add(1, std::memory_order_seq_cst);
    for_each_consumer([](log_consumer& each) { each.note_crash_of_its_thread(); });
    pid_t nobody = 0;
    if (first.compare_exchange_strong(nobody, me, std::memory_order_seq_cst)) {
        note = {.number = number,
                .code = info.si_code,
                .address = info.si_addr,
                .thread = static_cast<std::uint32_t>(me)};
        write_all();
        first.store(0, std::memory_order_seq_cst);
    } else {
        const std::int64_t deadline = now_ns() + turn_patience_ns;
        while (first.load(std::memory_order_seq_cst) != 0 && now_ns() < deadline) {
            pause_in_crash();
        }
    }
    walking.fetch_sub(1, std::memory_order_seq_cst);
}

std::size_t index_of(int number) noexcept {
    std::size_t i = 0;
    while (i + 1 < signal_count && signals[i] != number) {
        ++i;
    }
    return i;
}

/// As if this handler had not been there.
void pass_on(int number, siginfo_t* info, void* context) noexcept {
    struct sigaction& old = previous[index_of(number)];
    if ((old.sa_flags & SA_SIGINFO) == 0 && old.sa_handler == SIG_IGN) {
        return;
    }
    if ((old.sa_flags & SA_SIGINFO) == 0 && old.sa_handler == SIG_DFL) {
        ::sigaction(number, &old, nullptr);
        // What an instruction has done it does again when this returns, and the core file shows it.
        // What was sent has to be sent again.
        const bool comes_again = info->si_code > 0 && number != SIGABRT &&
                                 !(number == SIGBUS && info->si_code == BUS_MCEERR_AO);
        if (!comes_again) {
            ::syscall(SYS_tgkill, ::getpid(), this_thread(), number);
        }
        return;
    }
    ::pthread_sigmask(SIG_BLOCK, &old.sa_mask, nullptr); // put back when the handler returns
    const struct sigaction call = old;
    if ((old.sa_flags & static_cast<int>(SA_RESETHAND)) != 0) {
        old.sa_flags = 0;
        old.sa_handler = SIG_DFL;
    }
    if ((call.sa_flags & SA_SIGINFO) != 0) {
        call.sa_sigaction(number, info, context);
    } else {
        call.sa_handler(number);
    }
}

void on_signal(int number, siginfo_t* info, void* context) {
    const int saved_errno = errno;
    if (depth == 0) {
        ++depth;
        if (process.load(std::memory_order_relaxed) == ::getpid()) {
            save_logs(number, *info);
        }
        --depth;
        errno = saved_errno;
        pass_on(number, info, context);
        return;
    }

    // This handler has crashed: nothing is to be had from it any more.
    struct sigaction end {};

    end.sa_handler = SIG_DFL;
    ::sigaction(number, &end, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), this_thread(), number);
}

bool is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_signal;
}

/// With places_mutex held. Not from who has taken a signal from this handler: that one may pass it
/// on to it, in a circle.
void take_signals() noexcept {
    process.store(::getpid(), std::memory_order_relaxed);
    for (std::size_t i = 0; i < signal_count; ++i) {
        struct sigaction current {};

        if (::sigaction(signals[i], nullptr, &current) != 0 || is_ours(current)) {
            continue;
        }
        const bool is_default =
            (current.sa_flags & SA_SIGINFO) == 0 && current.sa_handler == SIG_DFL;
        if (was_installed[i] && !is_default) {
            continue;
        }

        struct sigaction ours {};

        ours.sa_sigaction = on_signal;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        ::sigemptyset(&ours.sa_mask);
        previous[i] = current;
        was_installed[i] = ::sigaction(signals[i], &ours, nullptr) == 0;
    }
}

/// With places_mutex held. Where nobody has come after it, all is as if it had not been there.
void give_signals_back() noexcept {
    for (std::size_t i = 0; i < signal_count; ++i) {
        struct sigaction current {};

        if (::sigaction(signals[i], nullptr, &current) == 0 && is_ours(current)) {
            was_installed[i] = ::sigaction(signals[i], &previous[i], nullptr) != 0;
        }
    }
}

/// With places_mutex held.
bool watches_any() noexcept {
    bool any = false;
    for_each_consumer([&](const log_consumer&) { any = true; });
    return any;
}

} // namespace

void pause_in_crash() noexcept {
    const timespec time{.tv_sec = 0, .tv_nsec = crash_pause_ns};
    ::nanosleep(&time, nullptr);
}

void crash_handler::uninstall() noexcept {
    const std::lock_guard lock(places_mutex);
    give_signals_back();
}

void crash_handler::become_childs() noexcept {
    std::construct_at(&places_mutex); // perhaps another thread of the parent's has locked it
    for (place* at = places.load(std::memory_order_relaxed); at != nullptr;
         at = at->next.load(std::memory_order_relaxed)) {
        at->consumer.store(nullptr, std::memory_order_relaxed);
    }
    process.store(::getpid(), std::memory_order_relaxed);
    walking.store(0, std::memory_order_relaxed);
    first.store(0, std::memory_order_relaxed);
}

std::size_t crash_handler::describe(const signal_note& of, char* to) noexcept {
    crash_text text(to, text_bytes_max);
    switch (of.number) {
    case SIGSEGV:
        text.put("SIGSEGV (bad address ");
        break;
    case SIGBUS:
        text.put("SIGBUS (bus error at ");
        break;
    case SIGILL:
        text.put("SIGILL (illegal instruction at ");
        break;
    case SIGFPE:
        text.put("SIGFPE (arithmetic error at ");
        break;
    default:
        text.put("SIGABRT (abort)");
        return text.size();
    }
    if (of.code > 0) {
        text.put("0x");
        text.put_hex(reinterpret_cast<std::uintptr_t>(of.address));
    } else {
        text.put("none: it was sent");
    }
    text.put(")");
    return text.size();
}

void crash_handler::watch(log_consumer& of) {
    const std::lock_guard lock(places_mutex);
    place* at = places.load(std::memory_order_relaxed);
    while (at != nullptr && at->consumer.load(std::memory_order_relaxed) != nullptr) {
        at = at->next.load(std::memory_order_relaxed);
    }
    if (at == nullptr) {
        at = new place;
        at->next.store(places.load(std::memory_order_relaxed), std::memory_order_relaxed);
        at->consumer.store(&of, std::memory_order_relaxed);
        places.store(at, std::memory_order_release);
    } else {
        at->consumer.store(&of, std::memory_order_seq_cst);
    }
    take_signals();
}

void crash_handler::unwatch(log_consumer& of) noexcept {
    {
        const std::lock_guard lock(places_mutex);
        for (place* at = places.load(std::memory_order_relaxed); at != nullptr;
             at = at->next.load(std::memory_order_relaxed)) {
            if (at->consumer.load(std::memory_order_relaxed) == &of) {
                at->consumer.store(nullptr, std::memory_order_seq_cst);
            }
        }
        if (!watches_any()) {
            give_signals_back();
        }
    }
    // A handler that runs may have seen it: the process ends soon, or that program's own handler
    // has it go on.
    while (walking.load(std::memory_order_seq_cst) != 0) {
        pause_in_crash();
    }
}

} // namespace sapwood::detail
