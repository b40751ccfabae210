#!/bin/bash -l
#SBATCH --job-name=luthier.training.0123456789abcdef.a1
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --partition=gpu
#SBATCH --account=nlp
#SBATCH --qos=high
#SBATCH --gpus-per-node=a100:4
#SBATCH --cpus-per-task=32
#SBATCH --mem=200G
#SBATCH --time=08:00:00
#SBATCH --constraint=nvlink&ib
#SBATCH --output=/shared/me/.luthier/jobs/it/batch.log
#SBATCH --open-mode=append
#SBATCH --chdir=/shared/me/.luthier/jobs/it
#SBATCH --export=NONE
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --exclusive

cd /shared/me/.luthier/jobs/it && rm -f ended || exit 1
echo "${SLURM_RESTART_COUNT:-0} $(date +%s)" > started.half && mv started.half started
export SLURM_EXPORT_ENV=ALL
trap 'timeout 4 scancel --signal=TERM "$SLURM_JOB_ID" &' TERM  # to the steps; after 5 s it would try a requeued job again
module load cuda/12.4
ulimit -n 65536

srun --kill-on-bad-exit=1 --input=none --open-mode=append --output=/shared/me/.luthier/jobs/it/%n.log --cpus-per-task=32 /bin/bash -c '
. /shared/me/.luthier/jobs/it/environment || exit 1
at=$(scontrol --oneliner show node "$SLURMD_NODENAME"); at=${at#* NodeAddr=}
export LUTHIER_NODE=$SLURM_NODEID LUTHIER_NODES=$SLURM_JOB_NUM_NODES LUTHIER_HOST=${at%% *}
export LUTHIER_RESTART=${SLURM_RESTART_COUNT:-0}
export LUTHIER_HOME="/scratch/$USER/$SLURMD_NODENAME"
exec apptainer exec --nv /shared/luthier.sif python -m tasks.training.worker jobs/training/0123/a1/spec.json
' &
srun=$!
wait "$srun"; status=$?
while kill -0 "$srun" 2> /dev/null; do wait "$srun"; status=$?; done
echo "${SLURM_RESTART_COUNT:-0} $status" > ended.half && mv ended.half ended
exit "$status"
