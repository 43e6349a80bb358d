// A million sleepers by Asio's coroutines, as an expert with one thread writes them. See
// memory_case.hpp.

#include <cstdint>

#include <asio.hpp>

#include "memory_case.hpp"

namespace bench {

namespace {

using executor = asio::io_context::executor_type;
using timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, executor>;
constexpr asio::use_awaitable_t<executor> use_awaitable{};

asio::awaitable<void, executor> sleep_once(std::chrono::nanoseconds duration,
                                           sleepers_watch& watch) {
    timer alarm{co_await asio::this_coro::executor, duration};
    watch.falls_asleep();
    co_await alarm.async_wait(use_awaitable);
    watch.wakes();
}

// Joining is the return of run(): no other way to await many tasks is cheaper here.
sleepers_cost sleep_together(asio::io_context& context, const sleepers_job& job) {
    sleepers_watch watch{job};
    for (std::uint64_t i = 0; i < job.tasks; ++i) {
        asio::co_spawn(context, sleep_once(job.duration, watch), asio::detached);
    }
    context.run();
    context.restart();
    return watch.cost();
}

} // namespace

sleepers_costs measure_asio_sleepers(const sleepers_job& job) {
    asio::io_context context{1};
    sleepers_costs costs;
    costs.first = sleep_together(context, job);
    costs.second = sleep_together(context, job);
    return costs;
}

} // namespace bench
