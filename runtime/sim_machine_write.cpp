// Writes to a simulated machine's files, with what chance and outages make of them.
#include "sim_machine.hpp"

#include "sqe_calls.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/uio.h>

namespace sapwood::detail {

/// So much of a write through a descriptor with O_DIRECT as whole sectors are.
std::size_t sim_machine::cut_to_sectors(const io_uring_sqe& sqe, std::size_t limit) const noexcept {
    return files.is_direct(sqe.fd) ? limit / sim_files::direct_bytes * sim_files::direct_bytes
                                   : limit;
}

std::int32_t sim_machine::perform_write(const io_uring_sqe& sqe) {
    const std::size_t wanted = transfer_size(sqe);
    std::size_t limit = wanted;
    if (is_ghost()) {
        return write_on(files, sqe, limit);
    }
    if (chance.one_in(faults.write_error)) {
        ++counts.write_errors;
        limit = wanted > 1 && chance.one_in(2) ? cut_to_sectors(sqe, chance.below(wanted)) : 0;
        write_rest(sqe, limit);
        return limit == 0 ? -EIO : write_on(files, sqe, limit);
    }
    if (wanted > 1 && chance.one_in(faults.short_write)) {
        ++counts.short_writes;
        limit = cut_to_sectors(sqe, chance.between(1, wanted - 1));
        limit = limit == 0 ? wanted : limit;
    }
    const sim_files::transfer where{
        .fd = sqe.fd,
        .offset = static_cast<std::int64_t>(sqe.off),
        .is_synced = (static_cast<std::uint32_t>(sqe.rw_flags) & (RWF_DSYNC | RWF_SYNC)) != 0,
        .appends = (static_cast<std::uint32_t>(sqe.rw_flags) & RWF_APPEND) != 0};
    outage_now* const out = outage();
    const bool is_met =
        out != nullptr && (is_for_all(out->error) || !files.is_overwrite(where, wanted));
    if (is_met && limit > 0) {
        limit = cut_to_sectors(sqe, std::min<std::size_t>(limit, out->bytes_left));
        out->bytes_left = limit == 0 ? 0 : out->bytes_left - limit;
        if (limit == 0) {
            ++counts.outage_errors;
            return -out->error;
        }
    }
    if (where.is_synced && chance.one_in(faults.sync_error)) {
        // The kernel has it; what failed was its sync.
        ++counts.sync_errors;
        io_uring_sqe unsynced = sqe;
        unsynced.rw_flags = 0;
        (void)write_on(files, unsynced, limit);
        return files.fail_sync(sqe.fd, -EIO, chance);
    }
    return write_on(files, sqe, limit);
}

/// Past the page cache a write that fails has perhaps written any of its sectors, behind those that
/// it tells of as well.
void sim_machine::write_rest(const io_uring_sqe& sqe, std::size_t told) {
    if (!files.is_direct(sqe.fd) || sqe.opcode != IORING_OP_WRITE) {
        return;
    }
    for (std::size_t at = told; at < sqe.len; at += sim_files::direct_bytes) {
        io_uring_sqe sector = sqe;
        sector.addr += at;
        sector.off += at;
        if (chance.one_in(2) && files.is_overwrite({.fd = sqe.fd,
                                                    .offset = static_cast<std::int64_t>(sector.off),
                                                    .is_synced = false,
                                                    .appends = false},
                                                   sim_files::direct_bytes)) {
            (void)write_on(files, sector, sim_files::direct_bytes);
        }
    }
}

std::int32_t sim_machine::write_on(sim_files& on, const io_uring_sqe& sqe, std::size_t limit) {
    constexpr std::uint32_t flags_known = RWF_DSYNC | RWF_SYNC | RWF_APPEND;
    const auto flags = static_cast<std::uint32_t>(sqe.rw_flags);
    if ((flags & ~flags_known) != 0) {
        return -EOPNOTSUPP;
    }
    std::span<const char> bytes;
    std::uint64_t address = sqe.addr;
    if (sqe.opcode == IORING_OP_WRITE) {
        bytes = {at_address<const char>(sqe.addr), std::min<std::size_t>(sqe.len, limit)};
    } else {
        gathered_.clear();
        address = 0;
        for (const iovec& each : std::span(at_address<const iovec>(sqe.addr), sqe.len)) {
            const auto* const begin = static_cast<const char*>(each.iov_base);
            address |= reinterpret_cast<std::uintptr_t>(begin) | each.iov_len;
            gathered_.insert(gathered_.end(), begin, begin + each.iov_len);
        }
        bytes = std::span<const char>(gathered_).first(std::min(gathered_.size(), limit));
    }
    sim_files::transfer where{.fd = sqe.fd,
                              .offset = static_cast<std::int64_t>(sqe.off),
                              .is_synced = (flags & (RWF_DSYNC | RWF_SYNC)) != 0,
                              .appends = (flags & RWF_APPEND) != 0,
                              .address = address};
    return on.write(where, bytes);
}

} // namespace sapwood::detail
