// A durable pipeline on two disks at once: each of its operations is done on an ext4 and on the
// simulated disk. At one of them the power of the ext4 is cut; what it is left with must be
// something that the simulated one may be left with, and have what was acknowledged before. So what
// the simulator plays is what a real disk does to this very log.
//
// SAPWOOD_TEST_POWER_CUTS says how often, SAPWOOD_TEST_POWER_CUTS_SEED where the seeds begin.
#include "sim_files.hpp"
#include "sqe_calls.hpp"

#include "support/durable_log_steps.hpp"
#include "support/system_calls.hpp"

#include <sapwood/run.hpp>
#include <sapwood/sim_random.hpp>
#include <sapwood/spawn.hpp>

#include <cerrno>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <liburing.h>
#include <linux/openat2.h>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using sapwood::durability;
using sapwood::lsn;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::sim_random;
using sapwood::task;
using sapwood::detail::opcode_ftruncate;
using sapwood::detail::sim_files;
using namespace sapwood::test;

constexpr int power_cuts_usual = 4;

int setting(const char* name, int usual) {
    const char* const text = std::getenv(name);
    return text != nullptr ? std::atoi(text) : usual;
}

const char* text_at(std::uint64_t address) {
    return reinterpret_cast<const char*>(address); // NOLINT(performance-no-int-to-ptr)
}

/// One directory, there and here.
class twin_disk {
  public:
    twin_disk(scratch_disk& real, std::uint64_t seed)
        : chance_(seed),
          real_(real),
          folder_("/cut" + std::to_string(seed)),
          real_folder_(real / folder_.substr(1)) {
        REQUIRE(::mkdir(real_folder_.c_str(), 0700) == 0);
        const int folder = ::open(real_folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(::syncfs(folder) == 0);
        ::close(folder);
        REQUIRE(simulated_.make_directory(AT_FDCWD, folder_, 0700) == 0);
        simulated_.make_all_durable();
        operations_left_ = chance_.between(1, 150);
    }

    [[nodiscard]] std::string log() const { return real_folder_ + "/log"; }

    [[nodiscard]] sim_random& chance() noexcept { return chance_; }

    [[nodiscard]] bool is_cut() const noexcept { return is_cut_; }

    /// Does an operation of the ring on both.
    std::optional<std::int32_t> answer(const io_uring_sqe& sqe) {
        if (operations_left_ == 0) {
            cut();
        }
        if (is_cut_) {
            return perform(sqe); // closes, and else fails
        }
        --operations_left_;
        if (sqe.opcode == IORING_OP_FSYNC && chance_.one_in(10)) {
            return -EIO; // neither of them has synced
        }
        const auto result = do_it(sqe);
        if (result) {
            mirror(sqe, *result);
        }
        return result;
    }

    void cut() {
        if (!std::exchange(is_cut_, true)) {
            real_.cut_power();
        }
    }

    /// What is there after the power cut must be possible here.
    [[nodiscard]] std::optional<std::string> objection() const {
        std::map<std::string, std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(real_folder_)) {
            std::ifstream file(entry.path(), std::ios::binary);
            found[entry.path().filename()] = {std::istreambuf_iterator<char>(file), {}};
        }
        return simulated_.objection(folder_, found);
    }

  private:
    std::optional<std::int32_t> do_it(const io_uring_sqe& sqe) {
        if (sqe.opcode != IORING_OP_WRITE) {
            return perform(sqe);
        }
        const std::size_t size = chance_.one_in(8) ? chance_.between(1, sqe.len) : sqe.len;
        const iovec all{.iov_base = const_cast<char*>(text_at(sqe.addr)), .iov_len = size};
        const auto written = ::pwritev2(sqe.fd, &all, 1, static_cast<off_t>(sqe.off),
                                        static_cast<int>(sqe.rw_flags));
        return written < 0 ? -errno : static_cast<std::int32_t>(written);
    }

    [[nodiscard]] bool is_above(std::uint64_t path) const {
        const std::string_view text = text_at(path);
        return text.ends_with('/') && text.size() <= real_folder_.size() &&
               real_folder_.starts_with(text);
    }

    [[nodiscard]] std::string here(std::uint64_t path) const {
        const std::string text = text_at(path);
        REQUIRE(text.starts_with(real_folder_));
        return folder_ + text.substr(real_folder_.size());
    }

    void opened(std::int32_t there, std::int32_t here) {
        REQUIRE((there >= 0 ? 0 : there) == (here >= 0 ? 0 : here));
        if (there >= 0) {
            descriptors_[there] = here;
        }
    }

    void mirror(const io_uring_sqe& sqe, std::int32_t result) {
        switch (sqe.opcode) {
        case IORING_OP_OPENAT:
            if (is_above(sqe.addr)) { // whose names are no matter of the simulated disk's
                if (result >= 0) {
                    above_.insert(result);
                }
                return;
            }
            opened(result, simulated_.open(AT_FDCWD, here(sqe.addr),
                                           static_cast<int>(sqe.open_flags), sqe.len, 0));
            return;
        case IORING_OP_OPENAT2: {
            const auto& how = *reinterpret_cast<const open_how*>(text_at(sqe.off));
            opened(result, simulated_.open(descriptors_.at(sqe.fd), text_at(sqe.addr),
                                           static_cast<int>(how.flags),
                                           static_cast<mode_t>(how.mode), how.resolve));
            return;
        }
        case IORING_OP_CLOSE:
            if (above_.erase(sqe.fd) > 0) {
                return;
            }
            REQUIRE(simulated_.close(descriptors_.at(sqe.fd)) == result);
            descriptors_.erase(sqe.fd);
            return;
        case IORING_OP_WRITE: {
            REQUIRE(result > 0);
            const sim_files::transfer where{.fd = descriptors_.at(sqe.fd),
                                            .offset = static_cast<std::int64_t>(sqe.off),
                                            .is_synced = (sqe.rw_flags & RWF_DSYNC) != 0};
            const std::span bytes(text_at(sqe.addr), static_cast<std::size_t>(result));
            REQUIRE(simulated_.write(where, bytes) == result);
            return;
        }
        case IORING_OP_FSYNC: {
            if (above_.contains(sqe.fd)) {
                return;
            }
            const int fd = descriptors_.at(sqe.fd);
            REQUIRE(simulated_.sync(fd, simulated_.sync_mark(fd)) == result);
            return;
        }
        case IORING_OP_RENAMEAT:
            REQUIRE(simulated_.rename(AT_FDCWD, here(sqe.addr), AT_FDCWD, here(sqe.addr2),
                                      sqe.rename_flags) == result);
            return;
        case IORING_OP_UNLINKAT:
            REQUIRE(simulated_.remove(AT_FDCWD, here(sqe.addr), 0) == result);
            return;
        case opcode_ftruncate:
            REQUIRE(simulated_.truncate(descriptors_.at(sqe.fd),
                                        static_cast<std::int64_t>(sqe.off)) == result);
            return;
        case IORING_OP_READ:
        case IORING_OP_STATX:
            return;
        default:
            FAIL("an operation that is not done on both: " << int{sqe.opcode});
        }
    }

    sim_random chance_;
    scratch_disk& real_;
    const std::string folder_;
    const std::string real_folder_;
    sim_files simulated_;
    /// Of the simulated disk, by the kernel's.
    std::map<int, int> descriptors_;
    std::set<int> above_; // of directories that the simulated disk does not have
    std::uint64_t operations_left_;
    bool is_cut_ = false;
};

pipeline_options options_by(sim_random& chance) {
    pipeline_options options = durable();
    if (chance.one_in(4)) {
        options.durable = durability::interval(std::chrono::milliseconds(chance.below(5)));
    }
    options.batch_bytes = chance.between(1, 30'000);
    options.segment_bytes_max = chance.one_in(2) ? chance.between(1, 20'000) : 0;
    options.give_up_after = std::chrono::milliseconds(50);
    return options;
}

/// `acknowledged`: up to where, before the cut.
task<> produce(twin_disk& on, pipeline& log, lsn& acknowledged) {
    for (int i = 0; i < 60; ++i) {
        const bool is_long = on.chance().one_in(4);
        const lsn place = co_await append(log, on.chance().below(is_long ? 9000 : 300));
        if (on.chance().one_in(2)) {
            co_await log.durable(place);
            acknowledged = on.is_cut() ? acknowledged : place;
        }
    }
}

/// Appends for a while, or until the power is cut: from then on the disk refuses all, for ever.
task<> write(twin_disk& on, lsn& acknowledged) {
    pipeline log = co_await opened(on.log(), options_by(on.chance()));
    auto producing = sapwood::spawn(produce(on, log, acknowledged));
    while (!on.is_cut() && !producing.done()) {
        co_await sapwood::sleep_for(std::chrono::milliseconds(1));
    }
    producing.cancel();
    try {
        co_await std::move(producing);
    } catch (const sapwood::cancelled&) {
    }
    try {
        co_await log.close();
    } catch (const std::system_error&) { // after the cut
    }
}

task<> open_and_close(std::string path) {
    pipeline log = co_await opened(path, durable());
    co_await log.close();
}

void cut_once(scratch_disk& disk, std::uint64_t seed) {
    CAPTURE(seed);
    twin_disk both(disk, seed);
    lsn acknowledged = lsn::none;
    {
        auto ring = std::make_unique<scripted_ring>();
        ring->answer = [&](const io_uring_sqe& sqe) { return both.answer(sqe); };
        sapwood::event_loop loop(std::move(ring));
        try {
            loop.run(write(both, acknowledged));
        } catch (const std::system_error&) { // it was cut while the log was opened
        }
    }
    both.cut();
    disk.mount_again();
    const auto wrong = both.objection();
    REQUIRE_MESSAGE(!wrong, "the simulated disk would not have " << wrong.value_or(""));
    sapwood::run(open_and_close(both.log()));
    const auto log = verified(both.log());
    CHECK(log.is_whole());
    CHECK(log.last >= acknowledged);
}

} // namespace

TEST_SUITE("twin_log") {
    TEST_CASE("what a power cut leaves of a durable log on ext4 the simulated disk may have, too") {
        const int first = setting("SAPWOOD_TEST_POWER_CUTS_SEED", 1);
        const int count = setting("SAPWOOD_TEST_POWER_CUTS", power_cuts_usual);
        for (const char* const options : {"", "nodelalloc"}) {
            CAPTURE(std::string(options));
            std::string why_not;
            const auto disk =
                scratch_disk::mount(scratch_disk::kind::ext4, 64u << 20, why_not, options);
            if (disk == nullptr) {
                MESSAGE("skipped: " << why_not);
                return;
            }
            for (int seed = first; seed < first + count; ++seed) {
                cut_once(*disk, static_cast<std::uint64_t>(seed));
            }
        }
    }
}
