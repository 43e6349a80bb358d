#include "sim_machine.hpp"

#include "sqe_calls.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace sapwood::detail {

namespace {

bool writes_bytes(const io_uring_sqe& sqe) noexcept {
    return sqe.opcode == IORING_OP_WRITE || sqe.opcode == IORING_OP_WRITEV;
}

/// Those that change what a path leads to.
bool changes_names(const io_uring_sqe& sqe) noexcept {
    switch (sqe.opcode) {
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
        return true;
    default:
        return false;
    }
}

/// Those that may fail, and take what is not on the disk with them.
bool writes_back(const io_uring_sqe& sqe) noexcept {
    return sqe.opcode == IORING_OP_FSYNC || sqe.opcode == IORING_OP_SYNC_FILE_RANGE;
}

bool opens_file(const io_uring_sqe& sqe) noexcept {
    return sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_OPENAT2;
}

std::uint64_t open_flags(const io_uring_sqe& sqe) noexcept {
    return sqe.opcode == IORING_OP_OPENAT2 ? at_address<const open_how>(sqe.addr2)->flags
                                           : sqe.open_flags;
}

/// Whether the file system would have to be written to.
bool changes_files(const io_uring_sqe& sqe) noexcept {
    return writes_bytes(sqe) || changes_names(sqe) || sqe.opcode == IORING_OP_FALLOCATE ||
           sqe.opcode == opcode_ftruncate ||
           (opens_file(sqe) &&
            ((open_flags(sqe) & O_CREAT) != 0 || (open_flags(sqe) & O_ACCMODE) != O_RDONLY));
}

std::uint64_t mixed(std::uint64_t digest, std::uint64_t value) noexcept {
    return (digest ^ value) * 0x100000001b3 + (digest >> 29);
}

} // namespace

sim_machine::sim_machine(sim_options wanted)
    : options(wanted),
      faults(wanted.faults),
      chance(wanted.seed),
      test_chance(~wanted.seed),
      digest(wanted.seed),
      others_(simulated) {
    simulated = this;
}

sim_machine::~sim_machine() {
    simulated = others_;
}

// --- calls that no ring makes ---

std::int32_t sim_machine::close(int fd) noexcept {
    return files.close(fd);
}

std::int32_t sim_machine::lock(int fd, int operation) noexcept {
    return files.lock(fd, operation);
}

std::int32_t sim_machine::change_mode(int fd, std::uint32_t mode) noexcept {
    return files.change_mode(fd, mode);
}

std::int32_t sim_machine::extent(int fd, file_extent& into) noexcept {
    return files.extent(fd, into);
}

std::int32_t sim_machine::change_flags(int fd, int clear, int set) noexcept {
    return files.change_flags(fd, clear, set);
}

std::int32_t sim_machine::read_directory(int fd, std::span<std::byte> into) noexcept {
    return files.read_directory(fd, into);
}

// --- operations ---

clock::duration sim_machine::duration_of(const io_uring_sqe& sqe) {
    using std::chrono::nanoseconds;
    const bool is_sync = writes_back(sqe);
    const clock::duration usual =
        nanoseconds(is_sync ? chance.between(20'000, 200'000)
                            : chance.between(500, writes_bytes(sqe) ? 40'000 : 8'000));
    if (is_ghost()) {
        return nanoseconds(1'000);
    }
    if (chance.one_in(faults.hang)) {
        ++counts.hung;
        return faults.hang_for;
    }
    if (chance.one_in(faults.slow)) {
        ++counts.slow;
        return nanoseconds(chance.below(static_cast<std::uint64_t>(
            std::max<std::int64_t>(nanoseconds(faults.slow_for).count(), 1))));
    }
    return usual;
}

sim_machine::outage_now* sim_machine::outage() noexcept {
    for (outage_now& each : outages) {
        if (now >= each.from && now < each.to) {
            return &each;
        }
    }
    return nullptr;
}

/// What goes wrong with the operation before it has any effect; 0 where nothing does.
std::int32_t sim_machine::fault_of(const io_uring_sqe& sqe, std::uint64_t mark) {
    if (chance.one_in(faults.given_up)) {
        ++counts.given_up;
        return -ECANCELED;
    }
    const bool may_be_interrupted = sqe.opcode != IORING_OP_CLOSE;
    if (may_be_interrupted && chance.one_in(faults.interrupted)) {
        ++counts.interrupted;
        return -EINTR;
    }
    if (may_be_interrupted && chance.one_in(faults.try_again)) {
        ++counts.tried_again;
        return -EAGAIN;
    }
    if ((opens_file(sqe) || changes_names(sqe)) && chance.one_in(faults.name_error)) {
        ++counts.name_errors;
        constexpr int errors[] = {EIO, EMFILE, ENOMEM};
        return -errors[chance.below(opens_file(sqe) ? 3 : 1)];
    }
    if (writes_back(sqe) && chance.one_in(faults.sync_error)) {
        ++counts.sync_errors;
        constexpr int errors[] = {EIO, ENOSPC, EDQUOT};
        return files.fail_sync(sqe.fd, -errors[chance.below(3)], chance);
    }
    outage_now* const out = outage();
    if (out == nullptr) {
        return 0;
    }
    const bool is_sync_lost = sqe.opcode == IORING_OP_FSYNC && is_for_all(out->error) &&
                              files.sync_mark(sqe.fd) != 0 && mark != 0 && chance.one_in(2);
    if (is_sync_lost) {
        ++counts.outage_errors;
        return files.fail_sync(sqe.fd, -EIO, chance);
    }
    const bool makes_name = opens_file(sqe) && (open_flags(sqe) & O_CREAT) != 0;
    const bool needs_room = makes_name ||
                            (changes_names(sqe) && sqe.opcode != IORING_OP_UNLINKAT) ||
                            sqe.opcode == IORING_OP_FALLOCATE;
    const bool is_met = is_for_all(out->error) ? changes_files(sqe) && !writes_bytes(sqe)
                                               : needs_room && out->error != EFBIG;
    if (is_met && out->bytes_left == 0) {
        ++counts.outage_errors;
        if (sqe.opcode == IORING_OP_FALLOCATE && !is_for_all(out->error) && sqe.addr > 1) {
            // What room there is it takes, as ext4 does.
            (void)files.allocate(sqe.fd, static_cast<int>(sqe.len),
                                 static_cast<std::int64_t>(sqe.off),
                                 static_cast<std::int64_t>(chance.between(1, sqe.addr - 1)));
        }
        return -out->error;
    }
    return 0;
}

std::int32_t sim_machine::perform(const io_uring_sqe& sqe, std::uint64_t mark) {
    if (script && !is_ghost()) {
        if (const auto answer = script(sqe)) {
            return *answer;
        }
    }
    if (!is_ghost()) {
        if (const std::int32_t error = fault_of(sqe, mark)) {
            return error;
        }
    }
    return writes_bytes(sqe) ? perform_write(sqe) : perform_on(files, sqe, mark);
}

std::int32_t sim_machine::perform_on(sim_files& on, const io_uring_sqe& sqe, std::uint64_t mark) {
    const auto* const path = at_address<const char>(sqe.addr);
    const auto* const second = at_address<const char>(sqe.addr2);
    on.set_time(now.time_since_epoch().count());
    switch (sqe.opcode) {
    case IORING_OP_READ:
        return on.read({.fd = sqe.fd, .offset = static_cast<std::int64_t>(sqe.off)},
                       {at_address<char>(sqe.addr), sqe.len});
    case IORING_OP_READV: {
        std::int32_t all = 0;
        auto offset = static_cast<std::int64_t>(sqe.off);
        for (const iovec& each : std::span(at_address<const iovec>(sqe.addr), sqe.len)) {
            const std::int32_t got = on.read({.fd = sqe.fd, .offset = offset},
                                             {static_cast<char*>(each.iov_base), each.iov_len});
            if (got < 0) {
                return all > 0 ? all : got;
            }
            all += got;
            offset += offset == sim_files::at_position ? 0 : got;
            if (static_cast<std::size_t>(got) < each.iov_len) {
                break;
            }
        }
        return all;
    }
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
        return write_on(on, sqe, SIZE_MAX);
    case IORING_OP_OPENAT:
        return on.open(sqe.fd, path, static_cast<int>(sqe.open_flags), sqe.len, 0);
    case IORING_OP_OPENAT2: {
        const auto* const how = at_address<const open_how>(sqe.addr2);
        return on.open(sqe.fd, path, static_cast<int>(how->flags), static_cast<mode_t>(how->mode),
                       how->resolve);
    }
    case IORING_OP_CLOSE:
        return on.close(sqe.fd);
    case IORING_OP_STATX:
        return on.status(sqe.fd, path, static_cast<int>(sqe.statx_flags),
                         *at_address<struct ::statx>(sqe.off));
    case IORING_OP_RENAMEAT:
        return on.rename(sqe.fd, path, static_cast<int>(sqe.len), second, sqe.rename_flags);
    case IORING_OP_UNLINKAT:
        return on.remove(sqe.fd, path, static_cast<int>(sqe.unlink_flags));
    case IORING_OP_MKDIRAT:
        return on.make_directory(sqe.fd, path, static_cast<mode_t>(sqe.len));
    case IORING_OP_LINKAT:
        return on.link(sqe.fd, path, static_cast<int>(sqe.len), second,
                       static_cast<int>(sqe.hardlink_flags));
    case IORING_OP_SYMLINKAT:
        return on.make_symlink(path, sqe.fd, second);
    case IORING_OP_FSYNC:
        return on.sync(sqe.fd, mark);
    case IORING_OP_FADVISE:
    case IORING_OP_SYNC_FILE_RANGE: // what it has written a power cut may keep, as it may anyway
        return on.opened(sqe.fd) != nullptr ? 0 : -EBADF;
    case IORING_OP_FALLOCATE:
        return on.allocate(sqe.fd, static_cast<int>(sqe.len), static_cast<std::int64_t>(sqe.off),
                           static_cast<std::int64_t>(sqe.addr));
    case opcode_ftruncate:
        return on.truncate(sqe.fd, static_cast<std::int64_t>(sqe.off));
    default:
        return -ENOSYS;
    }
}

void sim_machine::count(const io_uring_sqe& sqe, std::int32_t value) noexcept {
    if (is_ghost()) {
        return;
    }
    ++counts.operations;
    digest = mixed(digest, static_cast<std::uint64_t>(now.time_since_epoch().count()));
    digest = mixed(digest, (std::uint64_t{sqe.opcode} << 32) ^ static_cast<std::uint32_t>(value));
}

// --- a process's life ---

void sim_machine::begin_process() noexcept {
    has_crashed = false;
    has_hung = false;
    began = now;
    enters = 0;
}

void sim_machine::end_process() {
    crash_in = 0;
    if (survivor_) {
        std::swap(files, *survivor_);
        survivor_.reset();
    } else {
        (void)files.kill(false); // its descriptors are closed
    }
}

bool sim_machine::is_crash_due() noexcept {
    return crash_in != 0 && !is_ghost() && --crash_in == 0;
}

void sim_machine::begin_crash() {
    ++counts.crashes;
    survivor_ = std::make_unique<sim_files>(files);
    is_crashing = true;
    has_crashed = true;
}

void sim_machine::perform_in_part(const io_uring_sqe& sqe, std::uint64_t mark) {
    if (writes_bytes(sqe)) {
        const std::size_t all = transfer_size(sqe);
        const std::size_t some =
            cut_to_sectors(sqe, chance.one_in(3) ? all : chance.below(all + 1));
        if (some > 0) {
            io_uring_sqe begun = sqe;
            if (crash_kind == sim_crash::power_cut) { // any of its sectors may have got there
                begun.rw_flags &= ~(RWF_DSYNC | RWF_SYNC);
            }
            (void)write_on(*survivor_, begun, some);
            trace("  of the write under way {} of {} bytes are with the kernel", some, all);
        }
    } else if (changes_files(sqe) || sqe.opcode == IORING_OP_FSYNC) {
        if (chance.one_in(2)) {
            (void)perform_on(*survivor_, sqe, mark);
            trace("  what was under way was done: {}", name_of_opcode(sqe.opcode));
        }
    }
}

void sim_machine::end_crash() {
    if (crash_kind == sim_crash::kill) {
        trace("-- the process is killed");
        counts.evicted += survivor_->kill(chance.one_in(4));
    } else {
        trace("-- the power is cut");
        survivor_->cut(chance);
    }
    digest = mixed(digest, chance.next());
    if (options.traces) {
        std::swap(files, *survivor_);
        describe_files();
        std::swap(files, *survivor_);
    }
    is_crashing = false;
}

void sim_machine::cut_power() {
    files.cut(chance);
    ++counts.crashes;
    trace("-- the power is cut");
    describe_files();
}

void sim_machine::describe_files() {
    files.visit_regular([this](const std::string& path, const sim_files::inode& file) {
        trace("  {} has {} bytes, {} of them durable", path, file.bytes.size(),
              file.bytes.durable().size());
    });
}

void sim_machine::pass(clock::time_point until) noexcept {
    now = std::max(now, until);
}

} // namespace sapwood::detail
