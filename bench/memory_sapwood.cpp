// A million sleepers by sapwood. See memory_case.hpp.

#include <cstdint>
#include <vector>

#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include "memory_case.hpp"

namespace bench {

namespace {

sapwood::task<> sleep_once(std::chrono::nanoseconds duration, sleepers_watch& watch) {
    watch.falls_asleep();
    co_await sapwood::sleep_for(duration);
    watch.wakes();
}

sapwood::task<sleepers_cost> sleep_together(sleepers_job job) {
    sleepers_watch watch{job};
    {
        std::vector<sapwood::join_handle<>> sleepers;
        sleepers.reserve(job.tasks);
        for (std::uint64_t i = 0; i < job.tasks; ++i) {
            sleepers.push_back(sapwood::spawn(sleep_once(job.duration, watch)));
        }
        for (auto& sleeper : sleepers) {
            co_await sleeper;
        }
    }
    co_return watch.cost();
}

sapwood::task<sleepers_costs> sleep_twice(sleepers_job job) {
    sleepers_costs costs;
    costs.first = co_await sleep_together(job);
    costs.second = co_await sleep_together(job);
    co_return costs;
}

} // namespace

sleepers_costs measure_sapwood_sleepers(const sleepers_job& job) {
    return sapwood::run(sleep_twice(job));
}

} // namespace bench
